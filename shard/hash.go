package shard

import "github.com/cespare/xxhash/v2"

// index maps a community to one of n shards, n >= 1: the high word of
// hash times n, which is even for every n and never reaches it (Lemire, Fast
// Random Integer Generation in an Interval, 2019).
func index(community string, n int) int {
	h := xxhash.Sum64String(community) >> 32
	return int(h * uint64(n) >> 32) //nolint:gosec // below n, which is an int
}
