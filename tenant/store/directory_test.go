package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
)

// startDirectory runs a directory until the test ends. every is the time between two walks.
func startDirectory(tb testing.TB, rdb redis.UniversalClient, every time.Duration) *Directory {
	tb.Helper()
	d := NewDirectory(New(rdb, Options{}))
	d.every = every
	ctx, cancel := context.WithCancel(tb.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.Run(ctx); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() { cancel(); wg.Wait() })
	return d
}

// setTenants stores n tenants, comm_000000 and so on, among keys that are none of a tenant.
func setTenants(tb testing.TB, rdb redis.UniversalClient, n int) {
	tb.Helper()
	for first := 0; first < n; first += 5000 {
		_, err := rdb.Pipelined(tb.Context(), func(p redis.Pipeliner) error {
			for i := first; i < min(first+5000, n); i++ {
				p.Set(tb.Context(), fmt.Sprintf("tenant:config:comm_%06d", i), `{"tier":"pro"}`, 0)
				if i%2 == 0 {
					p.Set(tb.Context(), fmt.Sprintf("ratelimit:comm_%06d:command", i), "x", 0)
				}
			}
			p.Set(tb.Context(), "tenant:config:bad id", `{"tier":"pro"}`, 0)
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// fillTenants stores n tenants as setTenants does, all at once, on a single server.
func fillTenants(tb testing.TB, rdb redis.UniversalClient, n int) {
	tb.Helper()
	const script = `for i = 0, ARGV[1] - 1 do
 redis.call('SET', string.format('tenant:config:comm_%06d', i), '{"tier":"pro"}')
 redis.call('SET', string.format('ratelimit:comm_%06d:command', i), 'x')
end`
	if err := rdb.Eval(tb.Context(), script, nil, n).Err(); err != nil && !errors.Is(err, redis.Nil) {
		tb.Fatal(err)
	}
}

// searchAll walks all pages of a search.
func searchAll(tb testing.TB, d *Directory, text string, limit int) (ids []string, first DirectoryPage) {
	tb.Helper()
	for after := ""; ; {
		page, err := d.Search(tb.Context(), text, after, limit)
		if err != nil {
			tb.Fatal(err)
		}
		if len(page.Entries) > limit {
			tb.Fatalf("a page of %d entries with limit %d", len(page.Entries), limit)
		}
		for _, e := range page.Entries {
			ids = append(ids, e.ID)
		}
		if after == "" {
			first = page
		}
		if after = page.After; after == "" {
			return ids, first
		}
	}
}

// 100,000 tenants are found by a part of their ID, each once, in order.
func TestDirectorySearches(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Redis(t).Addr())
	const tenants = 100_000
	fillTenants(t, rdb, tenants)
	d := startDirectory(t, rdb, time.Hour)
	for _, tt := range []struct {
		text    string
		matches int
		first   string
	}{
		{"", tenants, "comm_000000"},
		{"comm_", tenants, "comm_000000"},
		{"COMM_0123", 100, "comm_012300"},
		{"99999", 1, "comm_099999"},
		{"00", 12_520, "comm_000000"},
		{"nobody", 0, ""},
		{"<b>", 0, ""},
	} {
		ids, first := searchAll(t, d, tt.text, 1000)
		if len(ids) != tt.matches || first.Matches != tt.matches || first.Tenants != tenants || first.More {
			t.Errorf("%q: %d found, %d of %d are said to match, more: %t; want %d", tt.text, len(ids), first.Matches, first.Tenants, first.More, tt.matches)
		}
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != tt.matches || len(ids) > 0 && ids[0] != tt.first {
			t.Errorf("%q: not in order, or not from %s on", tt.text, tt.first)
		}
	}
	page, err := d.Search(t.Context(), "comm_000001", "", 10)
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Config.Tier != tenant.Pro || page.Entries[0].Version == "" {
		t.Errorf("%+v, %v: want the document", page.Entries, err)
	}
}

// What events tell is in the list within a moment, although the next walk is an hour away.
func TestDirectoryFollowsEvents(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		setTenants(t, rdb, 100)
		d := startDirectory(t, rdb, time.Hour)
		d.Changed(tenant.Event{Type: tenant.TenantChanged, TargetID: "before anybody asks"})
		if ids, _ := searchAll(t, d, "", 1000); len(ids) != 100 {
			t.Fatalf("%d tenants", len(ids))
		}
		change := func(id string, exists bool, ev tenant.Event) {
			t.Helper()
			var err error
			if exists {
				err = rdb.Set(t.Context(), "tenant:config:"+id, `{"tier":"free"}`, 0).Err()
			} else {
				err = rdb.Del(t.Context(), "tenant:config:"+id).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			d.Changed(ev)
			testserver.Eventually(t, fmt.Sprintf("%s is listed: %t", id, exists), func() bool { return d.known.Load().has(id) == exists })
		}
		for _, id := range []string{"comm_000050", "Zoe", "a"} {
			ev := tenant.Event{Type: tenant.TenantChanged, TargetID: id}
			change(id, false, ev)
			change(id, true, ev)
		}
		change("all", true, tenant.Event{Type: tenant.GlobalChanged})
		ids, _ := searchAll(t, d, "", 1000)
		if len(ids) != 103 || !slices.IsSorted(ids) {
			t.Errorf("%d tenants, in order: %t", len(ids), slices.IsSorted(ids))
		}
		if ids, _ := searchAll(t, d, "zOE", 1000); len(ids) != 1 || ids[0] != "Zoe" {
			t.Errorf("zOE finds %q", ids)
		}
	})
}

// What no event told is found by the next walk, also on a cluster of several nodes.
func TestDirectoryWalksAgain(t *testing.T) {
	t.Parallel()
	for name, masters := range map[string]int{"single": 0, "cluster": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rdb redis.UniversalClient
			if masters == 0 {
				rdb = testserver.ConnectRedis(t, testserver.Redis(t).Addr())
			} else {
				rdb = testserver.ConnectCluster(t, testserver.Cluster(t, masters)[0].Addr())
			}
			setTenants(t, rdb, 3000)
			d := startDirectory(t, rdb, 10*time.Millisecond)
			if ids, _ := searchAll(t, d, "", 1000); len(ids) != 3000 {
				t.Fatalf("%d tenants", len(ids))
			}
			if err := rdb.Set(t.Context(), "tenant:config:new", `{}`, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if err := rdb.Del(t.Context(), "tenant:config:comm_000007").Err(); err != nil {
				t.Fatal(err)
			}
			testserver.Eventually(t, "the changes are found", func() bool {
				l := d.known.Load()
				return l.has("new") && !l.has("comm_000007") && len(l.ids) == 3000
			})
		})
	}
}

// afterScan runs f after each SCAN of a client.
type afterScan func(ctx context.Context)

func (afterScan) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f afterScan) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "scan" {
			f(ctx)
		}
		return err
	}
}

func (afterScan) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// What events tell while a walk is on its way is in the list after it too, although the walk has been past it.
func TestDirectoryChangesDuringWalk(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	setTenants(t, rdb, 10)
	d := NewDirectory(New(rdb, Options{}))
	l, err := d.walk(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	d.known.Store(l)
	d.follow(true)
	rdb.AddHook(afterScan(func(ctx context.Context) {
		if err := rdb.Set(ctx, "tenant:config:new", `{}`, 0).Err(); err != nil {
			t.Error(err)
		}
		if err := rdb.Del(ctx, "tenant:config:comm_000003").Err(); err != nil {
			t.Error(err)
		}
		for _, id := range []string{"new", "comm_000003"} {
			d.Changed(tenant.Event{Type: tenant.TenantChanged, TargetID: id})
		}
	}))
	if err := d.readSlowly(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.apply(t.Context()) // what the walk has left, because on a slow machine its pause was over before it began
	if l := d.known.Load(); !l.has("new") || l.has("comm_000003") || len(l.ids) != 10 {
		t.Errorf("after the walk: %q", l.ids)
	}
}

// What a slow walk has found to be read again is read again at once, and not after the next change or 30 s.
func TestDirectoryReadsAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Directory{wake: make(chan struct{}, 1)}
		d.readAgain()
		began := time.Now()
		if d.pass(t.Context(), directoryEvery, true); time.Since(began) > 0 {
			t.Errorf("it waits for %s", time.Since(began))
		}
		if d.pass(t.Context(), time.Second, false); time.Since(began) != time.Second {
			t.Errorf("the pause of a walk takes %s", time.Since(began))
		}
	})
}

// While Redis is away a search fails; when it is back the next one succeeds. A list that is there stays.
func TestDirectoryWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	rdb := server.Client(t)
	setTenants(t, rdb, 10)
	server.Kill()
	d := startDirectory(t, rdb, time.Millisecond)
	if _, err := d.Search(t.Context(), "", "", 1); err == nil {
		t.Fatal("a search without Redis succeeds")
	}
	server.Start()
	setTenants(t, server.Client(t), 10)
	testserver.Eventually(t, "searches succeed", func() bool { _, err := d.Search(t.Context(), "", "", 1); return err == nil })
	server.Kill()
	if _, err := d.Search(t.Context(), "", "", 1); err == nil {
		t.Error("documents are read without Redis")
	}
	if got := len(d.known.Load().ids); got != 10 {
		t.Errorf("%d tenants are known without Redis", got)
	}
}

// A list that nobody uses is forgotten, and made again when it is asked for.
func TestDirectoryForgets(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	setTenants(t, rdb, 10)
	d := startDirectory(t, rdb, time.Millisecond)
	for range 3 {
		if ids, _ := searchAll(t, d, "", 100); len(ids) != 10 {
			t.Fatalf("%d tenants", len(ids))
		}
		d.asked.Store(time.Now().Add(-2 * directoryIdle).UnixNano())
		testserver.Eventually(t, "the list is forgotten", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.known.Load() == nil && d.changed == nil
		})
		d.Changed(tenant.Event{Type: tenant.TenantChanged, TargetID: "a"})
	}
}

// More changes than are kept make it walk again, and no list grows beyond its bound.
func TestDirectoryIsBounded(t *testing.T) {
	t.Parallel()
	d := NewDirectory(nil)
	d.follow(true)
	for i := range 3 * maxChanged {
		d.Changed(tenant.Event{Type: tenant.TenantChanged, TargetID: fmt.Sprint(i)})
	}
	if len(d.changed) != maxChanged || !d.everything() {
		t.Errorf("%d changes are kept, everything is read again: %t", len(d.changed), d.everything())
	}
	ids := make([]string, MaxDirectory+1)
	for i := range ids {
		ids[i] = fmt.Sprintf("%07d", i)
	}
	l := newListing(ids)
	if len(l.ids) != MaxDirectory || !l.more {
		t.Errorf("%d IDs are listed, more: %t", len(l.ids), l.more)
	}
	l = l.with(map[string]bool{"a": true})
	if len(l.ids) != MaxDirectory || !l.more {
		t.Errorf("after one more %d IDs are listed, more: %t", len(l.ids), l.more)
	}
}

// After Run a search fails at once, and does not wait.
func TestDirectoryEnded(t *testing.T) {
	t.Parallel()
	d := NewDirectory(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := d.Search(t.Context(), "", "", 1); err == nil || !strings.Contains(err.Error(), "ended") {
			t.Errorf("a search after the end: %v", err)
		}
	}
}

// listing.with does what inserting and deleting one by one would do, and find finds what a plain look at each ID finds.
func TestListing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[aAbB]{1,3}`)
		start := rapid.SliceOf(id).Draw(t, "start")
		want := make(map[string]bool)
		for _, id := range start {
			want[id] = true
		}
		l := newListing(start)
		for range 3 {
			stored := rapid.MapOf(id, rapid.Bool()).Draw(t, "stored")
			l = l.with(stored)
			for id, exists := range stored {
				if delete(want, id); exists {
					want[id] = true
				}
			}
		}
		text, after := rapid.StringMatching(`[aAbB\n]{0,2}`).Draw(t, "text"), rapid.StringMatching(`[aAbB]{0,2}`).Draw(t, "after")
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		var all, page []string
		for id := range want {
			if strings.Contains(strings.ToLower(id), strings.ToLower(text)) {
				all = append(all, id)
			}
		}
		slices.Sort(all)
		for _, id := range all {
			if id > after {
				page = append(page, id)
			}
		}
		found, total, more := l.find(text, after, limit)
		if total != len(all) || more != (len(page) > limit) || !slices.Equal(found, page[:min(limit, len(page))]) {
			t.Fatalf("%q after %q in %q: %q, %d, %t", text, after, all, found, total, more)
		}
	})
}

// The cost of a page: the search, and the documents of the page.
func BenchmarkDirectory(b *testing.B) {
	rdb := testserver.ConnectRedis(b, testserver.Redis(b).Addr())
	const tenants = 100_000
	fillTenants(b, rdb, tenants)
	d := startDirectory(b, rdb, time.Hour)
	if _, err := d.Search(b.Context(), "", "", 1); err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{"", "99", "comm_012345"} {
		b.Run(fmt.Sprintf("tenants=%d/text=%s", tenants, text), func(b *testing.B) {
			for b.Loop() {
				if _, err := d.Search(b.Context(), text, fmt.Sprintf("comm_%06d", rand.IntN(tenants)), 50); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run(fmt.Sprintf("tenants=%d/change", tenants), func(b *testing.B) {
		l := d.known.Load()
		for b.Loop() {
			l.with(map[string]bool{"comm_012345x": true})
		}
	})
	b.Run(fmt.Sprintf("tenants=%d/walk", tenants), func(b *testing.B) {
		for b.Loop() {
			if _, err := d.walk(b.Context(), false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A list that is made to replace another shares the memory of the IDs that are in both.
func TestListingOwns(t *testing.T) {
	t.Parallel()
	l := newListing([]string{"b", "a"})
	if id := l.own(strings.Clone("a")); id != "a" || unsafe.StringData(id) != unsafe.StringData(l.ids[0]) {
		t.Errorf("%q is a copy", id)
	}
	if id := l.own("c"); id != "c" {
		t.Errorf("%q is not c", id)
	}
}
