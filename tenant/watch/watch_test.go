package watch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

// recorder keeps the events of a watcher.
type recorder struct {
	mu     sync.Mutex
	events []delivered // protected by mu
}

type delivered struct {
	member string
	way    watch.Way
}

func (r *recorder) add(_ context.Context, ev tenant.Event, way watch.Way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, delivered{ev.Member(), way})
}

// count is how often an event came, by pub/sub or by poll or, for an empty way, by either.
func (r *recorder) count(member string, way watch.Way) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, ev := range r.events {
		if ev.member == member && (way == "" || ev.way == way) {
			n++
		}
	}
	return n
}

// follow runs a watcher until the test ends. It returns when the watcher has subscribed: a probe that is published has
// come back.
func follow(t *testing.T, rdb redis.UniversalClient, opts watch.Options) *recorder {
	t.Helper()
	var r recorder
	opts.OnEvent = r.add
	start(t, rdb, opts)
	testserver.Eventually(t, "the watcher has subscribed", func() bool {
		rdb.Publish(t.Context(), "arrakis:config:reload", `{"type":"global_config","targetId":"probe","timestamp":1}`)
		return r.count("global_config:probe", watch.PubSub) > 0
	})
	return &r
}

// start runs a watcher until the test ends.
func start(t *testing.T, rdb redis.UniversalClient, opts watch.Options) {
	t.Helper()
	w := watch.New(rdb, opts)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// TestInvariantLivePubSub checks I5: a change is known everywhere at once by pub/sub, events of every type.
func TestInvariantLivePubSub(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		reg := prometheus.NewRegistry()
		r := follow(t, rdb, watch.Options{PollInterval: time.Hour, Registerer: reg})
		s, _ := newStore(rdb)
		if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(t, "the change is known", func() bool { return r.count("tenant_config:a", watch.PubSub) == 1 })
		if _, _, err := s.PutFlag(t.Context(), tenant.Flag{ID: "f"}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.PutAccount(t.Context(), "acme", tenant.Account{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.NotifyReset(t.Context(), "@acme", tenant.Command); err != nil {
			t.Fatal(err)
		}
		if err := s.NotifyReset(t.Context(), "a:command"); err != nil {
			t.Fatal(err)
		}
		if err := s.NotifyReload(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"feature_flag:f", "account_config:acme", "limit_reset:@acme:command", "limit_reset:a:command:sync_request", "global_config:"} {
			testserver.Eventually(t, want, func() bool { return r.count(want, watch.PubSub) == 1 })
		}
		testserver.Eventually(t, "the event is counted", func() bool {
			return strings.Contains(exposition(t, reg), `arrakis_config_reloads_total{type="tenant_config",way="pubsub"} 1`)
		})
	})
}

// exposition writes what is registered, a line for each series.
func exposition(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, family := range families {
		fmt.Fprintf(&out, "# %s %s\n", family.GetName(), family.GetHelp())
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			fmt.Fprintf(&out, "%s{%s} %v\n", family.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue())
		}
	}
	return out.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	watch.New(rdb, watch.Options{Registerer: reg})
	want := `# arrakis_config_reload_errors_total Config events that were malformed, and polls of the change log that failed.
arrakis_config_reload_errors_total{} 0
# arrakis_config_reloads_total Config events delivered, by type and by the way they came: pubsub or poll.
arrakis_config_reloads_total{type="account_config",way="poll"} 0
arrakis_config_reloads_total{type="account_config",way="pubsub"} 0
arrakis_config_reloads_total{type="feature_flag",way="poll"} 0
arrakis_config_reloads_total{type="feature_flag",way="pubsub"} 0
arrakis_config_reloads_total{type="global_config",way="poll"} 0
arrakis_config_reloads_total{type="global_config",way="pubsub"} 0
arrakis_config_reloads_total{type="limit_reset",way="poll"} 0
arrakis_config_reloads_total{type="limit_reset",way="pubsub"} 0
arrakis_config_reloads_total{type="tenant_config",way="poll"} 0
arrakis_config_reloads_total{type="tenant_config",way="pubsub"} 0
`
	if diff := cmp.Diff(want, exposition(t, reg)); diff != "" {
		t.Errorf("exposition (-want +got):\n%s", diff)
	}
}

// TestInvariantLivePoll checks I5: what pub/sub has missed is found by the poll, events of every type, each once.
func TestInvariantLivePoll(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		reg := prometheus.NewRegistry()
		r := follow(t, rdb, watch.Options{PollInterval: 5 * time.Millisecond, Registerer: reg})
		now := rdb.Time(t.Context()).Val().UnixMilli()
		members := []string{"tenant_config:a:b", "global_config:all", "feature_flag:f", "limit_reset:a:command", "limit_reset:a", "account_config:acme", "limit_reset:@acme"}
		for _, member := range append(members, "nonsense", "tenant_config:a b", "odd_type:x") {
			if err := rdb.ZAdd(t.Context(), "arrakis:config:changes", redis.Z{Member: member, Score: float64(now)}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for _, member := range members {
			testserver.Eventually(t, member, func() bool { return r.count(member, watch.Poll) == 1 })
		}
		// A later change of the same target is another event.
		if err := rdb.ZAdd(t.Context(), "arrakis:config:changes", redis.Z{Member: members[0], Score: float64(now + 1)}).Err(); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(t, "the second change", func() bool { return r.count(members[0], watch.Poll) == 2 })
		for _, member := range members[1:] {
			if n := r.count(member, ""); n != 1 {
				t.Errorf("%s came %d times, want once", member, n)
			}
		}
		if got := exposition(t, reg); !strings.Contains(got, "arrakis_config_reload_errors_total{} 3\n") {
			t.Errorf("want 3 errors:\n%s", got)
		}
	})
}

// An event that came by pub/sub does not come again by poll.
func TestWatcherDeliversOnce(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		r := follow(t, rdb, watch.Options{PollInterval: 500 * time.Millisecond})
		now := rdb.Time(t.Context()).Val().UnixMilli()
		published, looks := 0, 0
		testserver.Eventually(t, "the event", func() bool {
			if looks%100 == 0 { // again: what is published while a subscription is replaced is lost
				published++
				rdb.Publish(t.Context(), "arrakis:config:reload", fmt.Sprintf(`{"type":"tenant_config","targetId":"a","timestamp":%d}`, now))
			}
			looks++
			return r.count("tenant_config:a", watch.PubSub) > 0
		})
		if err := rdb.ZAdd(t.Context(), "arrakis:config:changes", redis.Z{Member: "tenant_config:a", Score: float64(now)}).Err(); err != nil {
			t.Fatal(err)
		}
		pollsLater(t, rdb, r)
		if got := r.count("tenant_config:a", watch.PubSub); got > published {
			t.Errorf("the event came %d times by pub/sub, published %d times", got, published)
		}
		if got := r.count("tenant_config:a", watch.Poll); got != 0 {
			t.Errorf("the event came %d times by poll as well", got)
		}
	})
}

// pollsLater waits until the watcher has polled again: it has found an entry that only the log holds.
func pollsLater(t *testing.T, rdb redis.UniversalClient, r *recorder) {
	t.Helper()
	z := redis.Z{Member: "tenant_config:later", Score: float64(rdb.Time(t.Context()).Val().UnixMilli())}
	if err := rdb.ZAdd(t.Context(), "arrakis:config:changes", z).Err(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "another poll", func() bool { return r.count("tenant_config:later", watch.Poll) == 1 })
}

func TestWatcherPassesOverMalformedEvents(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	r := follow(t, rdb, watch.Options{PollInterval: time.Hour})
	for _, bad := range []string{"", "{", "[]", `{"type":"other","targetId":"a"}`, `{"type":"tenant_config"}`, strings.Repeat("x", 10_000), `{"type":"tenant_config","targetId":"a","timestamp":"now"}`} {
		rdb.Publish(t.Context(), "arrakis:config:reload", bad)
	}
	rdb.Publish(t.Context(), "arrakis:config:reload", `{"type":"tenant_config","targetId":"a","timestamp":5,"source":"x","more":1}`)
	testserver.Eventually(t, "the good event", func() bool { return r.count("tenant_config:a", watch.PubSub) == 1 })
	if n := r.count("tenant_config:", ""); n != 0 {
		t.Error("a malformed event was delivered")
	}
}

// After its connection was cut the watcher subscribes again, and polls at once for what it has missed.
func TestWatcherSubscribesAgain(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		p := testserver.Proxy(t, addr)
		r := follow(t, testserver.ConnectRedis(t, p.Addr()), watch.Options{PollInterval: time.Hour})
		s, _ := newStore(testserver.ConnectRedis(t, addr))

		p.Refuse()
		if err := s.NotifyReload(t.Context(), "missed"); err != nil {
			t.Fatal(err)
		}
		p.Accept()
		testserver.Eventually(t, "what was missed is found", func() bool { return r.count("tenant_config:missed", watch.Poll) == 1 })

		if err := s.NotifyReload(t.Context(), "live"); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(t, "pub/sub works again", func() bool { return r.count("tenant_config:live", watch.PubSub) == 1 })
	})
}

// A connection that is silent without being cut is given up for a new one.
func TestWatcherGivesUpSilentConnection(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	direct := testserver.ConnectRedis(t, m.Addr())
	p := testserver.Proxy(t, m.Addr())
	rdb := redis.NewClient(&redis.Options{Addr: p.Addr(), ReadTimeout: 100 * time.Millisecond})
	t.Cleanup(func() { _ = rdb.Close() })
	r := follow(t, rdb, watch.Options{PollInterval: 50 * time.Millisecond})
	p.Silence()
	s, _ := newStore(direct)
	n := 0
	testserver.Eventually(t, "pub/sub works again", func() bool {
		n++
		if n%20 == 1 {
			if err := s.NotifyReload(t.Context(), "live"); err != nil {
				t.Fatal(err)
			}
		}
		return r.count("tenant_config:live", watch.PubSub) > 0
	})
}

// A watcher that was away for longer than the log keeps, whose Redis came late or whose clock went back reloads
// everything.
func TestWatcherReloadsAll(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name string
		miss func(m *miniredis.Miniredis)
	}{
		{"log too young", func(m *miniredis.Miniredis) { m.SetTime(now.Add(25 * time.Hour)) }},
		{"clock set back", func(m *miniredis.Miniredis) { m.SetTime(now.Add(-time.Hour)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := testserver.Miniredis(t)
			m.SetTime(now)
			r := follow(t, testserver.ConnectRedis(t, m.Addr()), watch.Options{PollInterval: 5 * time.Millisecond})
			if n := r.count("global_config:", ""); n != 0 {
				t.Fatal("everything is reloaded without a reason")
			}
			tt.miss(m)
			testserver.Eventually(t, "everything is reloaded", func() bool { return r.count("global_config:", watch.Poll) == 1 })
		})
	}
}

func TestWatcherStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	m.SetError("LOADING")
	var r recorder
	reg := prometheus.NewRegistry()
	start(t, testserver.ConnectRedis(t, m.Addr()), watch.Options{PollInterval: 5 * time.Millisecond, OnEvent: r.add, Registerer: reg})
	testserver.Eventually(t, "a poll has failed", func() bool {
		return !strings.Contains(exposition(t, reg), "arrakis_config_reload_errors_total{} 0\n")
	})
	m.SetError("")
	testserver.Eventually(t, "everything is reloaded", func() bool { return r.count("global_config:", watch.Poll) == 1 })
}

// Too many changes for one poll are one reload of everything.
func TestWatcherManyChanges(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	rdb := testserver.ConnectRedis(t, m.Addr())
	r := follow(t, rdb, watch.Options{PollInterval: 20 * time.Millisecond})
	now := float64(rdb.Time(t.Context()).Val().UnixMilli())
	zs := make([]redis.Z, 10_001)
	for i := range zs {
		zs[i] = redis.Z{Member: fmt.Sprintf("tenant_config:c%d", i), Score: now}
	}
	if err := rdb.ZAdd(t.Context(), "arrakis:config:changes", zs...).Err(); err != nil {
		t.Fatal(err)
	}
	if n := rdb.ZCard(t.Context(), "arrakis:config:changes").Val(); n != int64(len(zs)) {
		t.Fatalf("the log holds %d entries, want %d", n, len(zs))
	}
	testserver.Eventually(t, "everything is reloaded", func() bool { return r.count("global_config:", watch.Poll) > 0 })
	if n := r.count("tenant_config:c0", ""); n != 0 {
		t.Error("entries were delivered one by one")
	}
}
