//go:build race

package contract_test

// Under the race detector sync.Pool drops what it is given now and then.
func init() { allocationsAllowed = 8 }
