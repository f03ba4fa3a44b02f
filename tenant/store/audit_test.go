package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// audited are all kinds of writes, in an order in which each finds what it changes. changes is the entry that the audit
// log must have for each, as shownEntry shows it; $ stands for a time.
var audited = []struct {
	entry string
	write func(ctx context.Context, s *store.Store) error
}{
	{`tenant a by ada:  → {"communityId":"a","tier":"pro","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$}`, func(ctx context.Context, s *store.Store) error {
		_, _, err := s.Put(ctx, "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{})
		return err
	}},
	{`tenant a by ada: {"communityId":"a","tier":"pro","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$} → {"communityId":"a","tier":"free","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$}`, func(ctx context.Context, s *store.Store) error {
		_, _, err := s.UpgradeTier(ctx, "a", tenant.Free)
		return err
	}},
	{`tenant b by ada:  → {"communityId":"b","tier":"free","features":{},"rateLimits":{},"boosts":{"commandsPerMinute":{"add":5,"until":$}},"createdAt":$,"updatedAt":$}`, func(ctx context.Context, s *store.Store) error {
		r := tenant.BoostRequest{RateLimits: tenant.LimitOverrides{CommandsPerMinute: new(int64(5))}, For: "1h"}
		_, _, err := s.Boost(ctx, "b", r, store.PutOptions{})
		return err
	}},
	{`tenant b by ada: {"communityId":"b","tier":"free","features":{},"rateLimits":{},"boosts":{"commandsPerMinute":{"add":5,"until":$}},"createdAt":$,"updatedAt":$} → {"communityId":"b","tier":"free","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$}`, func(ctx context.Context, s *store.Store) error {
		_, _, err := s.EndBoosts(ctx, "b", store.PutOptions{})
		return err
	}},
	{`tenant a by ada: {"communityId":"a","tier":"free","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$} → `, func(ctx context.Context, s *store.Store) error {
		return s.Delete(ctx, "a", "")
	}},
	{`account acme by ada:  → {"name":"Acme","tier":"pro","counted":"together","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$}`, func(ctx context.Context, s *store.Store) error {
		_, _, err := s.PutAccount(ctx, "acme", tenant.Account{Name: "Acme", Tier: tenant.Pro, Counted: tenant.Together}, store.PutOptions{})
		return err
	}},
	{`account acme by ada: {"name":"Acme","tier":"pro","counted":"together","features":{},"rateLimits":{},"createdAt":$,"updatedAt":$} → `, func(ctx context.Context, s *store.Store) error {
		return s.DeleteAccount(ctx, "acme", "")
	}},
	{`flag f by ada:  → {"id":"f","enabled":true,"communities":{"include":["a"]}}`, func(ctx context.Context, s *store.Store) error {
		_, _, err := s.PutFlag(ctx, tenant.Flag{ID: "f", Enabled: true, Communities: tenant.FlagCommunities{Include: []string{"a"}}}, store.PutOptions{})
		return err
	}},
	{`flag f by ada: {"id":"f","enabled":true,"communities":{"include":["a"]}} → `, func(ctx context.Context, s *store.Store) error {
		return s.DeleteFlag(ctx, "f", "")
	}},
	{`tiers  by ada:  → {"free":{"features":{},"rateLimits":{},"weight":3},"pro":{"features":{},"rateLimits":{}},"enterprise":{"features":{},"rateLimits":{}}}`, func(ctx context.Context, s *store.Store) error {
		_, err := s.PutTiers(ctx, tenant.Tiers{Free: tenant.TierOverrides{Weight: new(int64(3))}}, store.PutOptions{})
		return err
	}},
	{`reload b:c by ada:  → `, func(ctx context.Context, s *store.Store) error { return s.NotifyReload(ctx, "b:c") }},
	{`reload  by ada:  → `, func(ctx context.Context, s *store.Store) error { return s.NotifyReload(ctx, "") }},
	{`reset b by ada:  → {"reset":["command"]}`, func(ctx context.Context, s *store.Store) error {
		return s.NotifyReset(ctx, "b", tenant.Command)
	}},
	{`reset b by ada:  → {"reset":["command","eligibility_check","sync_request","user_command"]}`, func(ctx context.Context, s *store.Store) error {
		return errors.Join(s.NotifyReset(ctx, "b"), s.NotifyResetAgain(ctx, "b", tenant.UserCommand))
	}},
	{`replay 7 by ada:  → {"seq":7}`, func(ctx context.Context, s *store.Store) error {
		return s.Record(ctx, store.AuditEntry{Type: store.AuditReplay, Target: "7", After: store.NewAuditText(map[string]int{"seq": 7})})
	}},
}

// shownEntry is an entry on one line, without its times.
func shownEntry(e *store.AuditEntry) string {
	line := fmt.Sprintf("%s %s by %s: %s → %s", e.Type, e.Target, e.Actor, e.Before.Text, e.After.Text)
	words := strings.Split(line, `"`)
	for i, w := range words {
		if _, err := time.Parse(time.RFC3339, w); err == nil {
			words[i] = "$"
		}
	}
	return strings.ReplaceAll(strings.Join(words, `"`), `"$"`, "$")
}

// Each write of every kind makes one entry, that says who did what, and what there was before and after.
func TestAuditOfEveryWrite(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		origin := store.Origin{Actor: "ada", From: "host", RequestID: "r-1"}
		ctx := store.WithOrigin(t.Context(), origin)
		for i, w := range audited {
			began := time.Now()
			if err := w.write(ctx, s); err != nil {
				t.Fatalf("%s: %v", w.entry, err)
			}
			h.settle(t)
			page, err := s.Audit(t.Context(), store.AuditQuery{})
			if err != nil || len(page.Entries) != i+1 || page.Cursor != "" {
				t.Fatalf("after %d writes the log has %d entries, cursor %q, %v", i+1, len(page.Entries), page.Cursor, err)
			}
			e := &page.Entries[0]
			if diff := cmp.Diff(w.entry, shownEntry(e)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if e.Origin != origin {
				t.Errorf("the entry is of %+v", e.Origin)
			}
			if age := e.At.Sub(began); e.Source != "test" || age < -time.Minute || age > time.Minute {
				t.Errorf("the entry is of %v, made by %q", e.At, e.Source)
			}
		}
	})
}

// A write that is refused, or whose document was changed meanwhile, makes no entry; one that is repeated until it
// succeeds makes one.
func TestAuditOfRefusedWrites(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{IfMatch: "other"}); !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "a", ""); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		tries := 0
		_, _, err := s.Update(t.Context(), "a", func(c *tenant.Config) error {
			if tries++; tries < 3 { // another writer is faster, twice
				h.setTenant(t, "a", fmt.Sprintf(`{"tier":"pro","weight":%d}`, tries))
			}
			c.Tier = tenant.Enterprise
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.Audit(t.Context(), store.AuditQuery{})
		entries := slices.DeleteFunc(page.Entries, func(e store.AuditEntry) bool { return e.Source == "other" })
		if err != nil || len(entries) != 1 || tries != 3 {
			t.Fatalf("%d entries after %d tries, %v; want one entry", len(entries), tries, err)
		}
		if before := entries[0].Before.Text; !strings.Contains(before, `"weight":2`) {
			t.Errorf("before is %s, want what the last try has replaced", before)
		}
	})
}

// The document and its entry are there together: nobody sees one without the other.
func TestAuditIsInTheTransaction(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Redis(t).Addr())
	s, _ := newStore(rdb)
	stop, watched := make(chan struct{}), make(chan int)
	go func() {
		seen := 0
		for {
			select {
			case <-stop:
				watched <- seen
				return
			default:
			}
			values, err := rdb.Eval(t.Context(), `return {redis.call('STRLEN', KEYS[1]) > 0 and 1 or 0, redis.call('XLEN', KEYS[2])}`,
				[]string{"tenant:config:a", "arrakis:audit"}).Int64Slice()
			if err != nil || values[0] != values[1]%2 {
				t.Errorf("the document is there: %d; entries: %d; %v", values[0], values[1], err)
			}
			seen++
		}
	}()
	for range 50 {
		if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
			t.Error(err)
		}
		if err := s.Delete(t.Context(), "a", ""); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if <-watched == 0 {
		t.Error("nobody watched")
	}
}

// What other writers have put into a document is nobody's business, and neither is a document that cannot be used.
func TestAuditKeepsNothingOfOthers(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		const secret = "s3cret"
		for i, before := range []string{
			`{"tier":"pro","webhook":"s3cret","features":{"x":"s3cret"},"rateLimits":{"x":"s3cret"},"onLimit":{"x":"s3cret"}}`,
			`{"tier":"gold","webhook":"s3cret"}`,
		} {
			h.setTenant(t, "a", before)
			if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: tenant.Free}, store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			page, err := s.Audit(t.Context(), store.AuditQuery{})
			if err != nil || len(page.Entries) <= i || page.Entries[0].Before.Text == "" {
				t.Fatalf("%+v, %v", page, err)
			}
			if strings.Contains(fmt.Sprint(page), secret) {
				t.Errorf("the audit log has what another writer has stored: %+v", page)
			}
		}
	})
}

// A large document is cut, and said to be. An origin that somebody has made up fills no page and moves no cursor.
func TestAuditIsClipped(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		evil := "a\x1b[2J\u202eb " + strings.Repeat("x", 1000)
		ctx := store.WithOrigin(t.Context(), store.Origin{Actor: evil, From: evil, RequestID: evil})
		f := tenant.Flag{ID: "f"}
		for i := range 1000 {
			f.Communities.Include = append(f.Communities.Include, fmt.Sprintf("comm_%04d", i))
		}
		if _, _, err := s.PutFlag(ctx, f, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		page, err := s.Audit(t.Context(), store.AuditQuery{})
		if err != nil || len(page.Entries) != 1 {
			t.Fatal(page, err)
		}
		e := page.Entries[0]
		if len(e.After.Text) != store.MaxAudited || !e.After.Clipped() || e.After.Size < 12_000 || e.Before.Clipped() {
			t.Errorf("%d bytes of %d are kept, clipped: %t", len(e.After.Text), e.After.Size, e.After.Clipped())
		}
		for _, kept := range []string{e.Actor, e.From, e.RequestID} {
			if len(kept) != 128 || strings.ContainsFunc(kept, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("%q of %d bytes", kept, len(kept))
			}
		}
	})
}

// Entries of an earlier version, which a log holds during and after an upgrade, say who and from where in one member.
func TestAuditOfEarlierVersion(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s, _ := newStore(rdb)
	for _, tt := range []struct {
		values []any
		want   store.Origin
	}{
		{[]any{"actor", "api:admin@10.0.0.1"}, store.Origin{Actor: "api:admin", From: "10.0.0.1"}},
		{[]any{"actor", "console:admin@2001:db8::7"}, store.Origin{Actor: "console:admin", From: "2001:db8::7"}},
		{[]any{"actor", "cli:ada@corp@host"}, store.Origin{Actor: "cli:ada@corp", From: "host"}},
		{[]any{"actor", "discord"}, store.Origin{Actor: "discord"}},
		{[]any{"actor", "cli:ada@corp", "from", ""}, store.Origin{Actor: "cli:ada@corp"}}, // this version; no host is known
		{[]any{"type", "reload"}, store.Origin{}},
	} {
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: store.AuditKey, Values: tt.values}).Err(); err != nil {
			t.Fatal(err)
		}
		page, err := s.Audit(t.Context(), store.AuditQuery{Limit: 1})
		if err != nil || page.Entries[0].Origin != tt.want {
			t.Errorf("%v: %+v, %v", tt.values, page.Entries, err)
		}
	}
}

// The log keeps the newest 10,000 entries, and Redis at most a node of its list more.
func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Redis(t).Addr())
	s, _ := newStore(rdb)
	const extra = 500
	fillAudit(t, rdb, store.AuditKept+extra, func(int) string { return "a" })
	for range 2 {
		if err := s.NotifyReload(t.Context(), "newest"); err != nil {
			t.Fatal(err)
		}
	}
	n, err := rdb.XLen(t.Context(), "arrakis:audit").Result()
	if err != nil || n < store.AuditKept || n > store.AuditKept+100 {
		t.Errorf("%d entries are kept, %v", n, err)
	}
	page, err := s.Audit(t.Context(), store.AuditQuery{Limit: 1})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Target != "newest" {
		t.Errorf("the newest entry is %+v, %v", page.Entries, err)
	}
}

// fillAudit adds n entries for the targets that target names.
func fillAudit(t *testing.T, rdb redis.UniversalClient, n int, target func(i int) string) {
	t.Helper()
	for first := 0; first < n; first += 1000 {
		_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for i := first; i < min(first+1000, n); i++ {
				p.XAdd(t.Context(), &redis.XAddArgs{Stream: "arrakis:audit", Values: []any{"type", "tenant", "target", target(i), "actor", fmt.Sprint(i)}})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Of the entries that a moment selects none is left out, whatever the pages, and none that is older is among them.
func TestAuditSince(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		for _, id := range []string{"999-7", "1000-0", "1000-1", "2000-0", "3000-0"} {
			values := []any{"type", "reload", "target", id}
			if err := h.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: store.AuditKey, ID: id, Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		h.settle(t)
		for since, want := range map[int64]string{
			-1: "3000-0 2000-0 1000-1 1000-0 999-7", 1000: "3000-0 2000-0 1000-1 1000-0", 1001: "3000-0 2000-0", 3000: "3000-0", 3001: "",
		} {
			for _, limit := range []int{1, 2, 100} {
				var got []string
				all, _ := auditAll(t, s, store.AuditQuery{Since: time.UnixMilli(since), Limit: limit})
				for _, e := range all {
					got = append(got, e.Target)
				}
				if strings.Join(got, " ") != want {
					t.Errorf("since %d, %d a page: %q, want %q", since, limit, got, want)
				}
			}
		}
		page, err := s.Audit(t.Context(), store.AuditQuery{Since: time.UnixMilli(2000), Cursor: "1000-0"})
		if err != nil || len(page.Entries) > 0 || page.Cursor != "" {
			t.Errorf("with the cursor of an older entry: %+v, %v", page, err)
		}
	})
}

// auditAll reads all pages.
func auditAll(t *testing.T, s *store.Store, q store.AuditQuery) (entries []store.AuditEntry, pages int) {
	t.Helper()
	for ; pages == 0 || q.Cursor != ""; pages++ {
		page, err := s.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Limit > 0 && len(page.Entries) > q.Limit {
			t.Errorf("a page of %d entries with limit %d", len(page.Entries), q.Limit)
		}
		entries, q.Cursor = append(entries, page.Entries...), page.Cursor
	}
	return entries, pages
}

// rareOften are the targets of a log in which every thousandth entry is about "rare".
func rareOften(i int) string {
	if i%1000 == 0 {
		return "rare"
	}
	return "often"
}

// The pages of a log have every entry that is selected, once, the newest first.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		const entries = 5000
		fillAudit(t, h.rdb, entries, rareOften)
		h.settle(t)
		for _, tt := range []struct {
			q     store.AuditQuery
			found int
		}{
			{store.AuditQuery{Limit: 1000}, entries},
			{store.AuditQuery{Limit: 333}, entries},
			{store.AuditQuery{Targets: []string{"rare"}}, 5},
			{store.AuditQuery{Targets: []string{"rare"}, Limit: 5}, 5},
			{store.AuditQuery{Targets: []string{"rare", "often"}, Limit: 700}, entries},
			{store.AuditQuery{Targets: []string{"nobody"}}, 0},
			{store.AuditQuery{Type: store.AuditFlag}, 0},
		} {
			all, _ := auditAll(t, s, tt.q)
			var actors []string
			for _, e := range all {
				actors = append(actors, fmt.Sprintf("%4s", e.Actor))
			}
			sorted := slices.Clone(actors)
			slices.Sort(sorted)
			slices.Reverse(sorted)
			if len(slices.Compact(sorted)) != tt.found || !slices.Equal(actors, sorted) {
				t.Errorf("%+v: %d entries, in order: %t; want %d", tt.q, len(actors), slices.Equal(actors, sorted), tt.found)
			}
		}
	})
}

// In Redis, a page with a filter looks at a part of the log only.
func TestAuditPageLooksAtAPart(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s, _ := newStore(rdb)
	fillAudit(t, rdb, 5000, rareOften)
	for _, q := range []store.AuditQuery{{Targets: []string{"rare"}}, {Targets: []string{"nobody"}}, {Type: store.AuditFlag}} {
		if _, pages := auditAll(t, s, q); pages < 3 {
			t.Errorf("%+v: %d pages, want 3 or more", q, pages)
		}
	}
}

// failures is a hook that counts connections that could not be made.
type failures struct{ n atomic.Int32 }

func (f *failures) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err != nil {
			f.n.Add(1)
		}
		return c, err
	}
}

func (*failures) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (*failures) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// What was done already, such as a replay, is recorded when Redis is back, if that is soon enough.
func TestRecordWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close() //nolint:errcheck // nothing is pending
	var failed failures
	rdb.AddHook(&failed)
	s, _ := newStore(rdb)
	server.Kill()
	ctx, stop := context.WithTimeout(t.Context(), testserver.Patience)
	defer stop()
	recorded := make(chan error, 1)
	go func() { recorded <- s.Record(ctx, store.AuditEntry{Type: store.AuditReplay, Target: "7"}) }()
	testserver.Eventually(t, "Redis cannot be reached", func() bool { return failed.n.Load() > 0 })
	server.Start()
	if err := <-recorded; err != nil {
		t.Fatal(err)
	}
	if page, err := s.Audit(ctx, store.AuditQuery{}); err != nil || len(page.Entries) != 1 || page.Entries[0].Target != "7" {
		t.Errorf("%+v, %v", page.Entries, err)
	}
	server.Kill()
	short, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := s.Record(short, store.AuditEntry{Type: store.AuditReplay}); err == nil {
		t.Error("an entry is recorded without Redis")
	}
}

// What is wrong with a question, or with what another writer has stored, is told.
func TestAuditFaults(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		for _, cursor := range []string{"x", "1", "1-", "(1-1", "1-1 COUNT", "0-0", "00-0", strings.Repeat("9", 40) + "-1"} {
			if _, err := s.Audit(t.Context(), store.AuditQuery{Cursor: cursor}); !errors.Is(err, store.ErrCursor) {
				t.Errorf("cursor %q: %v", cursor, err)
			}
		}
		if _, err := s.Audit(t.Context(), store.AuditQuery{Type: "x"}); !errors.As(err, new(*tenant.FieldError)) {
			t.Errorf("type x: %v", err)
		}
		set(t, rdb, "arrakis:audit", "x")
		if _, err := s.Audit(t.Context(), store.AuditQuery{}); !errors.As(err, new(*store.StoredError)) {
			t.Errorf("a string in its place: %v", err)
		}
		if err := s.NotifyReload(t.Context(), "a"); err == nil {
			t.Error("a change that could not be recorded counts as done")
		}
	})
}
