package shard

import "github.com/cespare/xxhash/v2"

// index maps a tenant key to one of n shards, n >= 1. The index is the high word of the hash times n (Lemire, Fast
// Random Integer Generation in an Interval, 2019). It spreads keys evenly for every n, and is always below n.
func index(community string, n int) int {
	h := xxhash.Sum64String(community) >> 32
	return int(h * uint64(n) >> 32) //nolint:gosec // below n, which is an int
}
