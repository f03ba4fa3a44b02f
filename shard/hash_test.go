package shard

import (
	"fmt"
	"testing"
)

func TestIndexIsInRangeAndEven(t *testing.T) {
	const communities = 20_000
	for _, n := range []int{1, 2, 3, 5, 6, 7, 10, 16, 64, 100, 256, 4096} {
		counts := make([]int, n)
		for i := range communities {
			counts[index(fmt.Sprintf("comm_%d", i), n)]++ // panics if out of range
		}
		if n > 256 {
			continue
		}
		for i, got := range counts {
			if want := communities / n; got < want/2 || got > want*2 {
				t.Errorf("shard %d of %d has %d communities, want about %d", i, n, got, want)
			}
		}
	}
	if a, b := index("comm_007", 64), index("comm_007", 64); a != b {
		t.Errorf("one community is on shards %d and %d", a, b)
	}
}
