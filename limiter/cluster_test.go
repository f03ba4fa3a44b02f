package limiter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// TestCluster runs a batch of many keys on a cluster of one node, where a script of several keys would be refused.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := testserver.Cluster(t, 1)[0]
	admin := s.Client(t)
	l := newLimiterOn(t, testserver.ConnectCluster(t, s.Addr()), settings{}, nil)
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
}

// clusterKeys is a limiter on a cluster of three masters, with keys that are spread over all of them.
type clusterKeys struct {
	t       *testing.T
	masters []*testserver.RedisServer
	l       *Limiter
}

const clusterKeyCount = 300

func newClusterKeys(t *testing.T) *clusterKeys {
	t.Helper()
	masters := testserver.Cluster(t, 3)
	return &clusterKeys{t: t, masters: masters, l: newLimiterOn(t, testserver.ConnectCluster(t, masters[0].Addr()), settings{}, nil)}
}

// key returns the name of one of the keys.
func (*clusterKeys) key(i int) string { return fmt.Sprintf("comm_%03d:command", i) }

// decide asks for the same messages of every key in one batch, of two permits an hour, and compares each key's verdicts
// as spelled.
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
		n := m.Client(c.t).DBSize(c.t.Context()).Val()
		if n < clusterKeyCount/6 {
			c.t.Errorf("%s holds %d of %d keys: they are not spread", m.Addr(), n, clusterKeyCount)
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
		if err := m.Client(t).FlushAll(t.Context()).Err(); err != nil {
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
