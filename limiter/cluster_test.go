package limiter

import (
	"context"
	"fmt"
	"net"
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
	l := newLimiterOn(t, rdb, settings{}, nil)
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
	probe := func() error { return l.health.Recover(t.Context(), l.mergeAll) }
	if err := probe(); err != nil {
		t.Errorf("probe: %v", err)
	}
	if err := admin.ClusterDelSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	if !poll(patience, func() bool { return probe() != nil }) {
		t.Error("probe of a cluster that is down finds it up")
	}
}

// startMasters starts a cluster of three masters and returns them. The slots are theirs in equal parts.
func startMasters(t *testing.T) []*testServer {
	t.Helper()
	const slots = 16384
	masters := make([]*testServer, 3)
	for i := range masters {
		masters[i] = startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "60000") // one that stalls is not failed
		c := masters[i].client(t)
		first, behind := slots*i/len(masters), slots*(i+1)/len(masters)
		if err := c.ClusterAddSlotsRange(t.Context(), first, behind-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(masters[i].addr)
		if err := masters[0].client(t).Do(t.Context(), "CLUSTER", "MEET", host, port).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range masters {
		c := m.client(t)
		if !poll(patience, func() bool {
			info := c.ClusterInfo(t.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:3")
		}) {
			t.Fatalf("the cluster is not up: %s", c.ClusterInfo(t.Context()).Val())
		}
	}
	return masters
}

// clusterKeys is a limiter on a cluster of three masters, with keys that are spread over all of them.
type clusterKeys struct {
	t       *testing.T
	masters []*testServer
	l       *Limiter
}

const clusterKeyCount = 300

func newClusterKeys(t *testing.T) *clusterKeys {
	t.Helper()
	masters := startMasters(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{masters[0].addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	return &clusterKeys{t: t, masters: masters, l: newLimiterOn(t, rdb, settings{}, nil)}
}

// key returns the name of one of the keys.
func (*clusterKeys) key(i int) string { return fmt.Sprintf("comm_%03d:command", i) }

// decide asks for the same messages of every key in one batch, of two permits an hour, and compares each key's verdicts as
// spelled.
func (c *clusterKeys) decide(want string, ids ...string) {
	c.t.Helper()
	limit := Limit{Max: 2, Window: time.Hour}
	batch := make([]*Request, 0, clusterKeyCount*len(ids))
	for k := range clusterKeyCount {
		w := NewWindow(c.key(k))
		for _, id := range ids {
			batch = append(batch, &Request{Window: w, Limit: limit, ID: id})
		}
	}
	if err := c.l.AllowBatch(context.Background(), batch); err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(batch); i += len(ids) {
		var vs []Verdict
		for _, r := range batch[i : i+len(ids)] {
			vs = append(vs, r.Verdict)
		}
		if got := spell(vs); got != want || vs[0].Degraded != c.l.Degraded() {
			c.t.Fatalf("%s: verdicts %s (%+v), want %s", batch[i].Window.Key(), got, vs[0], want)
		}
	}
}

// held fails unless the masters hold all keys, each its part.
func (c *clusterKeys) held() {
	c.t.Helper()
	total := int64(0)
	for _, m := range c.masters {
		n := m.client(c.t).DBSize(c.t.Context()).Val()
		if n < clusterKeyCount/6 {
			c.t.Errorf("%s holds %d of %d keys: they are not spread", m.addr, n, clusterKeyCount)
		}
		total += n
	}
	if total != clusterKeyCount {
		c.t.Errorf("the masters hold %d keys, want %d", total, clusterKeyCount)
	}
}

// TestClusterOfThree: one batch over the keys of all masters is exact, and so is what is merged after an outage.
func TestClusterOfThree(t *testing.T) {
	t.Parallel()
	c := newClusterKeys(t)
	c.decide("11", "a", "b")
	c.decide("220", "a", "b", "c")
	c.held()
	for _, m := range c.masters {
		if err := m.client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	lose(t, c.l)
	c.decide("220", "a", "b", "c") // by memory
	for k := range clusterKeyCount {
		c.l.ForgetLocal(c.key(k))
	}
	c.decide("110", "d", "e", "f")
	find(t, c.l)
	c.decide("220", "d", "e", "f")
	c.held()
}
