package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func putAccount(t *testing.T, s *store.Store, id string, a tenant.Account) {
	t.Helper()
	if _, _, err := s.PutAccount(t.Context(), id, a, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func putMember(t *testing.T, s *store.Store, id, account string) {
	t.Helper()
	if _, _, err := s.Put(t.Context(), id, tenant.Config{Tier: tenant.Free, Account: account}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestPutAccount(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		ctx := t.Context()
		if _, _, err := s.GetAccount(ctx, "acme"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("GetAccount = %v, want ErrNotFound", err)
		}
		made, v1, err := s.PutAccount(ctx, "acme", tenant.Account{Tier: tenant.Pro}, store.PutOptions{IfNoneMatch: true})
		if err != nil || made.CreatedAt.IsZero() || !made.UpdatedAt.Equal(made.CreatedAt) {
			t.Fatalf("PutAccount = %+v, %v", made, err)
		}
		got, v, err := s.GetAccount(ctx, "acme")
		if diff := cmp.Diff(made, got); diff != "" || v != v1 || err != nil {
			t.Errorf("GetAccount = version %q, %v, want %q (-put +got):\n%s", v, err, v1, diff)
		}
		for _, opts := range []store.PutOptions{{IfNoneMatch: true}, {IfMatch: "0123"}} {
			if _, _, err := s.PutAccount(ctx, "acme", tenant.Account{Tier: tenant.Free}, opts); !errors.Is(err, store.ErrConflict) {
				t.Errorf("PutAccount with %+v = %v, want ErrConflict", opts, err)
			}
		}
		if _, _, err := s.PutAccount(ctx, "acme", tenant.Account{Tier: "gold"}, store.PutOptions{}); !errors.As(err, new(*tenant.FieldError)) {
			t.Errorf("PutAccount of another tier = %v", err)
		}
		if _, _, err := s.PutAccount(ctx, "@acme", tenant.Account{Tier: tenant.Pro}, store.PutOptions{}); !errors.As(err, new(*tenant.FieldError)) {
			t.Errorf("PutAccount under another ID = %v", err)
		}
		if err := s.DeleteAccount(ctx, "acme", "0123"); !errors.Is(err, store.ErrConflict) {
			t.Errorf("DeleteAccount of another version = %v, want ErrConflict", err)
		}
		if err := s.DeleteAccount(ctx, "acme", v1); err != nil {
			t.Error(err)
		}
		if err := s.DeleteAccount(ctx, "acme", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DeleteAccount of none = %v, want ErrNotFound", err)
		}
	})
}

// No concurrent update of an account is lost, and what other writers have added stays.
func TestUpdateAccount(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		h.setAccount(t, "acme", `{"tier":"pro","billing":{"plan":7},"features":{"x":1},"rateLimits":{"y":2},"createdAt":"2026-01-31T12:00:00Z"}`)
		const writers = 10
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				_, _, err := s.UpdateAccount(t.Context(), "acme", func(a *tenant.Account) error {
					n := int64(1)
					if a.Weight != nil {
						n += *a.Weight
					}
					a.Weight = &n
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if a, _, err := s.GetAccount(t.Context(), "acme"); err != nil || a.Weight == nil || *a.Weight != writers {
			t.Errorf("%d updates left %+v, %v", writers, a, err)
		}
		a, _, err := s.PutAccount(t.Context(), "acme", tenant.Account{Tier: tenant.Free}, store.PutOptions{})
		if err != nil || string(a.Unknown) != `{"billing":{"plan":7}}` || a.Features.Unknown == nil || a.RateLimits.Unknown == nil || a.CreatedAt.Year() != 2026 {
			t.Errorf("members of other writers: %+v, %v", a, err)
		}
		h.setAccount(t, "bad", `{}`)
		_, _, err = s.UpdateAccount(t.Context(), "bad", func(*tenant.Account) error { return nil })
		if stored, ok := errors.AsType[*store.StoredError](err); !ok || stored.Key != "account:config:bad" {
			t.Errorf("UpdateAccount of one that cannot be used = %v", err)
		}
		if made, _, err := s.UpdateAccount(t.Context(), "new", func(*tenant.Account) error { return nil }); err != nil || made.Tier != tenant.Free {
			t.Errorf("UpdateAccount of none = %+v, %v", made, err)
		}
	})
}

// A community has what its account says; that is read in one more round trip, and only for those that are in one.
func TestLoadAccounts(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		putAccount(t, s, "acme", tenant.Account{Tier: tenant.Pro, Counted: tenant.Together})
		putAccount(t, s, "globex", tenant.Account{Tier: tenant.Enterprise})
		for id, account := range map[string]string{"a1": "acme", "a2": "acme", "g": "globex"} {
			putMember(t, s, id, account)
		}
		h.setTenant(t, "gone", `{"tier":"pro","account":"nobody"}`)
		h.setTenant(t, "own", `{"tier":"pro"}`)
		h.settle(t)
		got, err := s.Load(t.Context(), []string{"a1", "g", "own", "none", "a2", "gone"})
		if err != nil {
			t.Fatal(err)
		}
		var shown []string
		for _, tt := range got {
			shown = append(shown, fmt.Sprintf("%s: %s, counted under %s", tt.ID, tt.Tier, tt.LimitID(tenant.Command)))
		}
		want := []string{
			"a1: pro, counted under @acme", "g: enterprise, counted under g", "own: pro, counted under own",
			"none: free, counted under none", "a2: pro, counted under @acme", "gone: pro, counted under gone",
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		putAccount(t, s, "acme", tenant.Account{Tier: tenant.Enterprise})
		if got := h.load(t, s, "a1"); got.Tier != tenant.Enterprise || got.LimitID(tenant.Command) != "a1" {
			t.Errorf("after a change of the account: %+v", got)
		}
	})
}

// reads records the keys of each MGET.
type reads struct {
	redis.Hook
	keys [][]string
}

func (r *reads) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "mget" {
			var keys []string
			for _, key := range cmd.Args()[1:] {
				keys = append(keys, fmt.Sprint(key))
			}
			r.keys = append(r.keys, keys)
		}
		return next(ctx, cmd)
	}
}

func (*reads) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*reads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestAccountsAreReadOnce(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s, _ := newStore(rdb)
	putAccount(t, s, "acme", tenant.Account{Tier: tenant.Pro})
	for _, id := range []string{"a1", "a2"} {
		putMember(t, s, id, "acme")
	}
	set(t, rdb, "tenant:config:x", `{"tier":"pro","account":"nobody"}`)
	var seen reads
	rdb.AddHook(&seen)
	for _, tt := range []struct {
		ids  []string
		want [][]string
	}{
		{[]string{"own", "none"}, [][]string{{"tenant:config:own", "tenant:config:none"}}},
		{[]string{"a1", "own", "a2", "x"}, [][]string{
			{"tenant:config:a1", "tenant:config:own", "tenant:config:a2", "tenant:config:x"}, {"account:config:acme", "account:config:nobody"},
		}},
	} {
		seen.keys = nil
		if _, err := s.Load(t.Context(), tt.ids); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, seen.keys); diff != "" {
			t.Errorf("%v: keys that were read (-want +got):\n%s", tt.ids, diff)
		}
	}
}

// A caller may know that an account must not be asked for. That is the fault of its communities alone.
func TestLoadEachSkips(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		for _, id := range []string{"acme", "globex"} {
			putAccount(t, s, id, tenant.Account{Tier: tenant.Pro})
			putMember(t, s, "of-"+id, id)
		}
		away := errors.New("away")
		got, errs := s.LoadEach(t.Context(), []string{"of-acme", "of-globex", "none"}, func(key string) error {
			if key == "account:config:acme" {
				return away
			}
			return nil
		})
		of, ok := errors.AsType[*store.AccountError](errs[0])
		if !ok || of.Key != "account:config:acme" || !errors.Is(errs[0], away) || got[0] != nil {
			t.Errorf("of an account that must not be read: %+v, %v", got[0], errs[0])
		}
		if errs[1] != nil || errs[2] != nil || got[1].Tier != tenant.Pro || got[2].Tier != tenant.Free {
			t.Errorf("of others: %v, %v, %v", got[1:], errs[1], errs[2])
		}
	})
}

// Of an account that cannot be used, the last usable document stays in force; of one that never could, configs say all.
func TestUnusableAccounts(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, log := newStore(rdb)
		set(t, rdb, "tenant:config:a", `{"tier":"free","account":"acme"}`)
		tier := func(account string) tenant.Tier {
			t.Helper()
			set(t, rdb, "account:config:acme", account)
			return load(t, s, "a").Tier
		}
		if got := tier(`{"tier":"gold"}`); got != tenant.Free {
			t.Errorf("never good: tier %s, want that of the config", got)
		}
		if got := tier(`{"tier":"pro"}`); got != tenant.Pro {
			t.Errorf("good: tier %s", got)
		}
		if got := tier(`{`); got != tenant.Pro {
			t.Errorf("good no longer: tier %s, want the last good one", got)
		}
		checkUnusable(t, s, "account:config:acme")
		if n := strings.Count(log.String(), "key=account:config:acme"); n != 3 { // bad, mended, bad
			t.Errorf("logged %d times:\n%s", n, log)
		}
		if mended, err := s.RecheckAccounts(t.Context()); mended != nil || err != nil {
			t.Errorf("RecheckAccounts of a bad one: %v, %v", mended, err)
		}
		set(t, rdb, "account:config:acme", `{"tier":"enterprise"}`)
		if mended, err := s.RecheckAccounts(t.Context()); !slices.Equal(mended, []string{"acme"}) || err != nil {
			t.Errorf("RecheckAccounts: %v, %v", mended, err)
		}
		checkUnusable(t, s)
		if got := load(t, s, "a").Tier; got != tenant.Enterprise {
			t.Errorf("mended: tier %s", got)
		}
	})
}

// A config cannot name an account that is not there, unless it does already.
func TestAccountMustExist(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		join := func(id, account string) error {
			_, _, err := s.Update(t.Context(), id, func(c *tenant.Config) error {
				c.Account = account
				return nil
			})
			return err
		}
		field, ok := errors.AsType[*tenant.FieldError](join("a", "acme"))
		if !ok || field.Field != "account" {
			t.Errorf("into an account that is not there: %v", field)
		}
		if _, _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the refused config is stored: %v", err)
		}
		putAccount(t, s, "acme", tenant.Account{Tier: tenant.Pro})
		if err := join("a", "acme"); err != nil {
			t.Error(err)
		}
		if err := s.DeleteAccount(t.Context(), "acme", "", store.EvenIfUsed); err != nil {
			t.Error(err)
		}
		if err := join("a", "acme"); err != nil {
			t.Errorf("a config that names it already: %v", err)
		}
		if err := join("a", ""); err != nil {
			t.Errorf("out of it: %v", err)
		}
		h.setAccount(t, "bad", `{"tier":"gold"}`)
		if err := join("a", "bad"); err != nil {
			t.Errorf("into one that is there and cannot be used now: %v", err)
		}
	})
}

func TestDeleteAccountInUse(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		putRaw(t, h.rdb, 1500)
		putAccount(t, s, "acme", tenant.Account{Tier: tenant.Pro})
		putMember(t, s, "comm_1499", "acme")
		h.settle(t)
		if err := s.DeleteAccount(t.Context(), "acme", ""); !errors.Is(err, store.ErrAccountUsed) || !strings.Contains(err.Error(), "comm_1499") {
			t.Errorf("DeleteAccount = %v, want ErrAccountUsed with a community", err)
		}
		if err := s.Delete(t.Context(), "comm_1499", ""); err != nil {
			t.Fatal(err)
		}
		h.settle(t)
		if err := s.DeleteAccount(t.Context(), "acme", ""); err != nil {
			t.Error(err)
		}
	})
}

func TestListAccounts(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		putRaw(t, rdb, 100)
		for i := range 30 {
			set(t, rdb, fmt.Sprintf("account:config:a%02d", i), `{"tier":"pro"}`)
		}
		set(t, rdb, "account:config:bad", `{`)
		set(t, rdb, "account:config:no id", `{"tier":"pro"}`)
		found := map[string]bool{}
		cursor, pages := "", 0
		for ; pages == 0 || cursor != ""; pages++ {
			page, err := s.ListAccounts(t.Context(), store.ListOptions{Cursor: cursor, Limit: 7})
			if err != nil || len(page.Entries) > 7 {
				t.Fatalf("a page of %d, %v", len(page.Entries), err)
			}
			for _, e := range page.Entries {
				if (e.Err != nil) != (e.ID == "bad") || e.Version == "" || e.Err == nil && e.Account.Tier != tenant.Pro {
					t.Errorf("entry %+v", e)
				}
				found[e.ID] = true
			}
			cursor = page.Cursor
		}
		if len(found) != 31 || pages < 5 {
			t.Errorf("%d accounts on %d pages: %v", len(found), pages, found)
		}
		if _, err := s.ListAccounts(t.Context(), store.ListOptions{Cursor: "x"}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("a bad cursor: %v", err)
		}
	})
}

func TestAccountCommunities(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const all, members = 1200, 300
		s, _ := newStore(rdb)
		putRaw(t, rdb, all)
		_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for i := range members {
				p.Set(t.Context(), fmt.Sprintf("tenant:config:comm_%04d", 4*i+1), `{"tier":"pro","account":"acme"}`, 0)
				p.Set(t.Context(), fmt.Sprintf("tenant:config:comm_%04d", 4*i+2), `{"tier":"pro","account":"acme2"}`, 0)
				p.Set(t.Context(), fmt.Sprintf("tenant:config:comm_%04d", 4*i+3), `{"tier":"pro","guildId":"acme"}`, 0)
			}
			p.Set(t.Context(), "tenant:config:comm_0005", `{"tier":"pro","acc\u006funt":"\u0061cme"}`, 0) // as another writer may write it
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int{0, 1, 70, 1000} {
			found := map[string]bool{}
			cursor, pages := "", 0
			for ; pages == 0 || cursor != ""; pages++ {
				page, err := s.AccountCommunities(t.Context(), "acme", store.ListOptions{Cursor: cursor, Limit: limit})
				if err != nil {
					t.Fatal(err)
				}
				if most := max(limit, 1); limit > 0 && len(page.Entries) > most || len(page.Entries) > 1000 {
					t.Fatalf("limit %d: a page of %d", limit, len(page.Entries))
				}
				for _, e := range page.Entries {
					found[e.ID] = true
					if e.Config.Account != "acme" {
						t.Fatalf("%s is in %q", e.ID, e.Config.Account)
					}
				}
				cursor = page.Cursor
			}
			if len(found) != members {
				t.Errorf("limit %d: %d communities on %d pages, want %d", limit, len(found), pages, members)
			}
		}
		if page, err := s.AccountCommunities(t.Context(), "none", store.ListOptions{}); err != nil || page.Entries != nil || page.Cursor != "" {
			t.Errorf("of none: %+v, %v", page, err)
		}
	})
}

// The tenants that are listed come with their accounts.
func TestListHasAccounts(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		putAccount(t, s, "acme", tenant.Account{Tier: tenant.Pro, Unknown: jsontext.Value(`{"x":1}`)})
		putMember(t, s, "a", "acme")
		putMember(t, s, "b", "")
		h.settle(t)
		page, err := s.List(t.Context(), store.ListOptions{})
		if err != nil || len(page.Entries) != 2 || page.Entries[0].Account == nil || page.Entries[0].Account.Tier != tenant.Pro || page.Entries[1].Account != nil {
			t.Errorf("List = %+v, %v", page, err)
		}
		account, err := s.AccountOf(t.Context(), &page.Entries[0].Config)
		if err != nil || account == nil || account.Tier != tenant.Pro {
			t.Errorf("AccountOf = %+v, %v", account, err)
		}
		if account, err = s.AccountOf(t.Context(), &page.Entries[1].Config); err != nil || account != nil {
			t.Errorf("AccountOf one that is in none = %+v, %v", account, err)
		}
	})
}

// TestJoinWithOneConnection: a community is put into an account over a single connection. If that took two at once, many that do
// it at the same time would wait for each other.
func TestJoinWithOneConnection(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: testserver.Redis(t).Addr(), PoolSize: 1})
	t.Cleanup(func() { _ = rdb.Close() }) // nothing is pending
	s := store.New(rdb, store.Options{})
	if _, _, err := s.PutAccount(t.Context(), "acme", tenant.Account{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(t.Context(), "c1", tenant.Config{Tier: tenant.Free, Account: "acme"}, store.PutOptions{}); err != nil {
		t.Errorf("with one connection: %v", err)
	}
}
