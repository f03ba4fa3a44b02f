//go:build race

package pipeline

// Under the race detector sync.Pool drops what it is given now and then.
func init() { raceAllocations = 4 }
