//go:build race

package pipeline

func init() {
	raceAllocations = 4 // sync.Pool drops what it is given now and then
	littleRedisMessages = 20_000
	madeUpCommunities = 200_000
	hopeless = 500
}
