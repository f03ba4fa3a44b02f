package limiter

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arrakis/loadtest/testserver"
)

// lostMaster is a limiter on a cluster of three masters that goes on when it loses one.
type lostMaster struct {
	t       *testing.T
	masters []*testserver.RedisServer
	l       *Limiter
	log     *testserver.Output
	lost    []bool // of each key: whether it is on the master that will be lost
}

const lostMasterKeys = 60

func newLostMaster(t *testing.T, p Policy) *lostMaster {
	t.Helper()
	c := &lostMaster{t: t, masters: testserver.Cluster(t, 3), log: new(testserver.Output)}
	for _, m := range c.masters {
		if err := m.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	rdb := testserver.ConnectCluster(t, c.masters[1].Addr())
	o := settings{Options: Options{OnRedisDown: p, Logger: c.log.Logger()}}
	o.health.ProbeInterval = 20 * time.Millisecond
	c.l = newLimiterOn(t, rdb, o, nil)
	for i := range lostMasterKeys {
		owner, err := rdb.MasterForKey(t.Context(), c.l.o.Prefix+c.key(i))
		if err != nil {
			t.Fatal(err)
		}
		c.lost = append(c.lost, owner.Options().Addr == c.masters[0].Addr())
	}
	return c
}

func (*lostMaster) key(i int) string { return fmt.Sprint("comm_", i) }

// decide asks for one message of every key in one batch, and returns the verdicts.
func (c *lostMaster) decide(id string) []Verdict {
	c.t.Helper()
	batch := make([]*Request, lostMasterKeys)
	for i := range batch {
		batch[i] = &Request{Window: NewWindow(c.key(i)), Limit: Limit{Max: 2, Window: time.Hour}, ID: id}
	}
	if err := c.l.AllowBatch(context.Background(), batch); err != nil {
		c.t.Fatal(err)
	}
	verdicts := make([]Verdict, lostMasterKeys)
	for i, r := range batch {
		verdicts[i] = r.Verdict
	}
	return verdicts
}

// want compares the verdict on one message of every key, as spelled, for the keys on the lost master and for the rest.
func (c *lostMaster) want(id, lost, others string) {
	c.t.Helper()
	for i, v := range c.decide(id) {
		want := others
		if c.lost[i] {
			want = lost
		}
		if got := spell([]Verdict{v}); got != want || v.Degraded != (c.lost[i] && c.l.Degraded()) {
			c.t.Errorf("%s, message %s: verdict %s, want %s: %+v, lost %t", c.key(i), id, got, want, v, c.lost[i])
		}
	}
}

// W5: one lost master of a cluster degrades its own keys only, and says which node it is. It comes back by itself.
func TestW5LostMaster(t *testing.T) {
	t.Parallel()
	c := newLostMaster(t, Local)
	c.want("a", "1", "1")
	for i := range lostMasterKeys { // another process admits b
		if !c.lost[i] {
			other := newLimiterOn(t, testserver.ConnectCluster(t, c.masters[1].Addr()), settings{}, nil)
			ask(t, other, c.key(i), Limit{Max: 2, Window: time.Hour}, "b")
			break
		}
	}
	c.masters[0].Kill()
	c.decide("b") // tells that the master is away
	addr := c.masters[0].Addr()
	if nodes := c.l.health.Nodes(); !slices.Equal(nodes, []string{addr}) {
		t.Errorf("away %v, want %s alone", nodes, addr)
	}
	if n := testutil.CollectAndCount(c.l.o.Registerer.(*prometheus.Registry), "arrakis_limiter_degraded_node"); n != 1 || c.log.Count("node="+addr) != 1 {
		t.Errorf("%d series, log %d: want the node named once by each", n, c.log.Count("node="+addr))
	}
	trips := roundTrips(t, c.l)
	c.want("b", "2", "2")
	c.want("c", "0", "0")
	if n := roundTrips(t, c.l) - trips; n != 2 {
		t.Errorf("%v round trips for two batches, want 2: the lost master is not asked", n)
	}
	if u, err := c.l.Usages(t.Context(), []Query{{c.key(slices.Index(c.lost, true)), Limit{Max: 2, Window: time.Hour}}, {c.key(slices.Index(c.lost, false)), Limit{Max: 2, Window: time.Hour}}}); err != nil ||
		!u[0].Degraded || u[1].Degraded || u[0].Used != 2 || u[1].Used != 2 {
		t.Errorf("usages %+v, %v, want 2 used of both, the first degraded", u, err)
	}
	run(t, c.l)
	c.masters[0].Start()
	testserver.Eventually(t, "the master is used again", func() bool { return !c.l.Degraded() && c.l.fallback.idle() })
	c.want("b", "2", "2")
}

// W5: the policies of a lost master apply to its keys only.
func TestW5Policies(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{Closed, Open} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			c := newLostMaster(t, p)
			c.want("a", "1", "1")
			c.want("b", "1", "1")
			c.masters[0].Kill()
			c.decide("a")
			lost := map[Policy]string{Closed: "0", Open: "1"}[p]
			c.want("c", lost, "0")
			for i, v := range c.decide("d") {
				if v.Unavailable != (c.lost[i] && p == Closed) {
					t.Errorf("%s: unavailable %t", c.key(i), v.Unavailable)
				}
			}
		})
	}
}

// W5: when a replica takes over, the keys of the lost master come back by themselves, with their permits.
func TestW5Failover(t *testing.T) {
	t.Parallel()
	c := newLostMaster(t, Local)
	replica := testserver.Redis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "60000", "--repl-diskless-sync-delay", "0")
	rdb, first := replica.Client(t), c.masters[0].Client(t)
	for _, m := range c.masters {
		host, port, _ := net.SplitHostPort(m.Addr())
		if err := rdb.ClusterMeet(t.Context(), host, port).Err(); err != nil {
			t.Fatal(err)
		}
	}
	id, err := first.ClusterMyID(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	testserver.Succeeds(t, "the replica follows", func() error { return rdb.ClusterReplicate(t.Context(), id).Err() })
	c.want("a", "1", "1")
	keys, err := first.DBSize(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the permits reach the replica", func() bool { return rdb.DBSize(t.Context()).Val() == keys })
	c.masters[0].Kill()
	c.decide("b")
	if !c.l.Degraded() {
		t.Error("not degraded without a master")
	}
	run(t, c.l)
	testserver.Succeeds(t, "the replica takes over", func() error { return rdb.Do(t.Context(), "CLUSTER", "FAILOVER", "TAKEOVER").Err() })
	testserver.Eventually(t, "the new master is used", func() bool { return !c.l.Degraded() && c.l.fallback.idle() })
	c.want("a", "2", "2")
	c.want("b", "2", "2")
	c.want("c", "0", "0")
}
