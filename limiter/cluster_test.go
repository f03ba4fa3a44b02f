package limiter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestCluster runs a batch of many keys on a cluster of one node, where a script of several keys would be refused.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := startRedis(t, "--cluster-enabled", "yes")
	admin := s.client(t)
	if err := admin.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	if !poll(patience, func() bool { return strings.Contains(admin.ClusterInfo(t.Context()).Val(), "cluster_state:ok") }) {
		t.Fatal("the cluster is not up")
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	l, err := New(rdb, Options{})
	if err != nil {
		t.Fatal(err)
	}
	limit := Limit{Max: 1, Window: time.Hour}
	for round, want := range []string{"10", "00", "00"} {
		batch := make([]*Request, 0, 40)
		for k := range 20 {
			w := NewWindow(fmt.Sprintf("comm_%03d:command", k))
			for i := range 2 {
				batch = append(batch, &Request{Window: w, Limit: limit, ID: fmt.Sprint(round, "-", i)})
			}
		}
		if err := l.AllowBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(batch); i += 2 {
			if got := spell([]Verdict{batch[i].Verdict, batch[i+1].Verdict}); got != want || batch[i].Verdict.Degraded {
				t.Errorf("round %d, %s: verdicts %s (%+v), want %s", round, batch[i].Window.Key(), got, batch[i].Verdict, want)
			}
		}
		if err := admin.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	if err := admin.ClusterDelSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	if !poll(patience, func() bool { return l.probe(t.Context()) != nil }) {
		t.Error("probe of a cluster that is down finds it up")
	}
}
