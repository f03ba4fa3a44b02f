package shard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// explained is a community whose documents and traffic are random, beside a pool that decides on its messages.
type explained struct {
	*bundle
	asked *Limits
	now   time.Time // of Redis
	since time.Time // when it was set, by the clock of the shards

	id      string         // that messages carry
	config  map[string]any // as Redis has it; nil: there is none
	account map[string]any // the same of the account that the config may name
	tiers   map[string]any
	flags   *tenant.Flags
	serial  int // of the last message
	renamed bool
}

// TestExplain: for random documents and traffic, an explanation says what the shard then does with a command, how long it
// waits, which documents decided, and which features and flags handlers see. Asking changes nothing.
func TestExplain(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	decisions := map[Decision]int{}
	communities := 0
	check := func(t *rapid.T) {
		communities++
		x := &explained{
			bundle: b, asked: &Limits{Tenants: b.store, Limiter: b.limits}, id: fmt.Sprint("c", communities),
			now: time.UnixMilli(1_800_000_000_000 + int64(communities)*1_000_000), tiers: map[string]any{}, flags: tenant.NewFlags(),
		}
		b.redis.FlushAll()
		x.pass(t, 0)
		x.changeTiers(t)
		x.changeFlags(t)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch rapid.IntRange(0, 10).Draw(t, "step") {
			case 0, 1:
				x.changeConfig(t)
			case 10:
				x.changeAccount(t)
			case 2:
				x.changeTiers(t)
			case 3:
				x.changeFlags(t)
			case 4, 5:
				x.pass(t, time.Duration(rapid.IntRange(0, 40_000).Draw(t, "ms"))*time.Millisecond)
			default:
				decisions[x.check(t)]++
			}
		}
	}
	for range 20 { // few documents delay: 100 communities can be without any
		if rapid.Check(t, check); decisions[Allowed] > 0 && decisions[Delayed] > 0 && decisions[RateLimited] > 0 {
			return
		}
	}
	t.Errorf("not all was decided: the test shows only a part: %v", decisions)
}

// pass lets time pass for Redis. What the shards know of full windows is forgotten, because their clock goes on slower.
func (x *explained) pass(t *rapid.T, d time.Duration) {
	t.Helper()
	x.now = x.now.Add(d)
	x.redis.SetTime(x.now)
	x.since = time.Now()
	for _, limitID := range []string{x.id, "other-" + x.id, tenant.AccountLimitID(x.accountID())} {
		x.notify(t, tenant.Event{Type: tenant.LimitReset, TargetID: limitID})
	}
}

func (x *explained) notify(t *rapid.T, e tenant.Event) {
	t.Helper()
	if err := x.pool.Notify(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// optional draws a value, or none.
func optional(t *rapid.T, to map[string]any, name string, from ...any) {
	if i := rapid.IntRange(-len(from), len(from)-1).Draw(t, name); i >= 0 {
		to[name] = from[i]
	}
}

// overrides draws what a document says of the settings that tiers and tenants have.
func overrides(t *rapid.T) map[string]any {
	limits, features := map[string]any{}, map[string]any{}
	optional(t, limits, "commandsPerMinute", -1, 0, 1, 2, 3)
	optional(t, limits, "userCommandsPerMinute", -1, 0, 1, 2)
	optional(t, limits, "eligibilityChecksPerHour", 5)
	optional(t, features, "customBranding", true, false)
	optional(t, features, "prioritySupport", true, false)
	doc := map[string]any{"rateLimits": limits, "features": features}
	optional(t, doc, "onLimit", "delay", "reject")
	optional(t, doc, "maxDelayed", 1, 2)
	optional(t, doc, "mode", "shadow", "enforce")
	optional(t, doc, "weight", 3, 7)
	return doc
}

func (x *explained) changeConfig(t *rapid.T) {
	t.Helper()
	x.config, x.renamed = nil, false
	if rapid.IntRange(0, 9).Draw(t, "config") > 0 {
		x.config = overrides(t)
		x.config["tier"] = rapid.SampledFrom([]string{"free", "pro", "enterprise"}).Draw(t, "tier")
		boosts := map[string]any{}
		for _, limit := range []string{"commandsPerMinute", "userCommandsPerMinute"} {
			until := x.now.Add(time.Duration(rapid.IntRange(-10, 90).Draw(t, "until")) * time.Second)
			optional(t, boosts, limit, map[string]any{"add": 2, "until": until.UTC().Format(time.RFC3339)})
		}
		x.config["boosts"] = boosts
		optional(t, x.config, "account", x.accountID())
		if x.renamed = rapid.IntRange(0, 4).Draw(t, "name") == 0; x.renamed {
			x.config["communityId"] = "other-" + x.id
		}
	}
	if x.config == nil {
		x.redis.Del("tenant:config:" + x.id)
	} else {
		x.set(t, "tenant:config:"+x.id, x.config)
	}
	x.notify(t, tenant.Event{Type: tenant.TenantChanged, TargetID: x.id})
}

func (x *explained) accountID() string { return "of-" + x.id }

// changeAccount changes the account that the config may name. It tells only of that: the shard knows who is in it.
func (x *explained) changeAccount(t *rapid.T) {
	t.Helper()
	key := store.AccountKey(x.accountID())
	if x.account = nil; rapid.IntRange(0, 4).Draw(t, "account") == 0 {
		x.redis.Del(key)
	} else {
		x.account = overrides(t)
		x.account["tier"] = rapid.SampledFrom([]string{"free", "pro", "enterprise"}).Draw(t, "tier of the account")
		optional(t, x.account, "counted", "together", "together", "each")
		x.set(t, key, x.account)
	}
	x.notify(t, tenant.Event{Type: tenant.AccountChanged, TargetID: x.accountID()})
}

func (x *explained) changeTiers(t *rapid.T) {
	t.Helper()
	x.tiers = map[string]any{}
	for _, tier := range []string{"free", "pro"} {
		x.tiers[tier] = overrides(t)
	}
	x.set(t, "arrakis:tiers", x.tiers)
	if err := x.store.RefreshTiers(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.notify(t, tenant.Event{Type: tenant.TenantChanged, TargetID: x.id}) // else it would be read again within a second
}

func (x *explained) changeFlags(t *rapid.T) {
	t.Helper()
	x.redis.Del("arrakis:flags")
	for i := range rapid.IntRange(0, 3).Draw(t, "flags") {
		id := fmt.Sprint("flag", i)
		flag := map[string]any{"id": id, "enabled": rapid.Bool().Draw(t, "enabled")}
		optional(t, flag, "tiers", []string{"free"}, []string{"pro", "enterprise"})
		optional(t, flag, "rolloutPercent", 0, 50, 100)
		communities := map[string]any{}
		optional(t, communities, "include", []string{x.id})
		optional(t, communities, "exclude", []string{x.id})
		flag["communities"] = communities
		text, err := json.Marshal(flag)
		if err != nil {
			t.Fatal(err)
		}
		x.redis.HSet("arrakis:flags", id, string(text))
	}
	var err error
	if x.flags, err = x.store.Flags(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (x *explained) set(t *rapid.T, key string, document any) {
	t.Helper()
	text, err := json.Marshal(document)
	if err == nil {
		err = x.redis.Set(key, string(text))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// check asks for an explanation, sends a command, and compares.
func (x *explained) check(t *rapid.T) Decision {
	t.Helper()
	user := rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "user")
	before := x.redis.Dump()
	e, err := x.asked.Explain(t.Context(), x.id, user)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, x.redis.Dump()); diff != "" {
		t.Fatalf("asking has changed Redis:\n%s", diff)
	}
	x.checkSources(t, &e)

	x.serial++
	n := commandOf(x.id, fmt.Sprint(x.id, "-", x.serial))
	n.admission.User = user
	known := rapid.Bool().Draw(t, "the shard may know that the limit is used up")
	if !known {
		x.pass(t, 0)
	}
	x.sendTo(t, n)
	x.checkTenant(t, &e, n.admission.Tenant)
	a, v := &n.admission, &n.admission.Verdict
	if b := e.Limits[a.LimitedBy].Boost; b != nil && v.Local && time.Since(x.since).Milliseconds() >= b.LeftMS {
		return e.Verdict.Decision // the shard did not ask Redis, and by its own clock, which has gone on, the boost may have ended
	}
	got := ExplainedVerdict{Decision: Allowed, RetryAfterMS: milliseconds(v.RetryAfter)}
	if !v.Allowed {
		got.Decision, got.Limit, got.Shadow = RateLimited, a.LimitedBy.String(), a.Tenant.Shadow
		if a.OverLimit() && a.Tenant.MaxDelayed[a.Action] > 0 {
			r := &Reservation{Admission: a, Name: "of-" + a.ID, Longest: time.Hour}
			if err := x.pool.Reserve(t.Context(), []*Reservation{r}); err != nil {
				t.Fatal(err)
			}
			if r.Answer == limiter.Granted {
				got.Decision = Delayed
				got.RetryAfterMS = milliseconds(r.Wait)
			}
		}
	}
	want := e.Verdict
	if known && !v.Allowed {
		want.RetryAfterMS, got.RetryAfterMS = 0, 0 // the shard's clock has gone on
		if got.Limit == tenant.Command.String() && e.Limits[tenant.Command].Use.RetryAfterMS > 0 && want.Limit != got.Limit {
			return e.Verdict.Decision // both limits are used up, and the shard did not ask the user's
		}
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Fatalf("verdict (-of the shard: %+v +explained: %+v):\n%s", *v, e, diff)
	}
	limit := e.Limits[a.LimitedBy]
	if limit.Limit.Value != v.Limit {
		t.Fatalf("the limit of %s is %d, explained as %+v", a.LimitedBy, v.Limit, limit)
	}
	if v.Allowed && v.Limit >= 0 && limit.Use.Remaining != v.Remaining+1 {
		t.Fatalf("%d remain after the command, and before it %+v", v.Remaining, limit.Use)
	}
	return e.Verdict.Decision
}

// sendTo sends a message and waits for its verdict.
func (x *explained) sendTo(t *rapid.T, n *note) {
	t.Helper()
	s := x.pool.Sorter()
	s.Add(n)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-x.out
}

// checkTenant compares an explanation with the tenant that the shard has resolved, and with what handlers see.
func (x *explained) checkTenant(t *rapid.T, e *Explanation, of *tenant.Tenant) {
	t.Helper()
	if diff := cmp.Diff(of.Account, e.Account); diff != "" {
		t.Fatalf("account (-of the tenant +explained):\n%s", diff)
	}
	if e.Community != of.ID || e.Tier != of.Tier || e.Stored != of.Stored || int(e.Weight.Value) != of.Weight || (e.Mode.Value == tenant.Shadow) != of.Shadow {
		t.Fatalf("explained %+v, the tenant is %+v", e, of)
	}
	for a := range tenant.Action(tenant.NumActions) {
		l := e.Limits[a]
		limit := l.Limit.Value
		if l.Boost != nil {
			limit -= l.Boost.Add
		}
		delayed := int64(0)
		if l.OnLimit != nil && l.OnLimit.Value == tenant.Delay {
			delayed = l.MaxDelayed.Value
		}
		if limit != of.Max[a] || delayed != of.MaxDelayed[a] {
			t.Fatalf("%s: explained %+v, the tenant is %+v", a, l, of)
		}
	}
	names := func(yield func(string) bool) {
		for _, f := range e.Features {
			if f.Value && !yield(f.Name) {
				return
			}
		}
		for _, f := range e.Flags {
			if f.On && !yield(f.ID) {
				return
			}
		}
	}
	if diff := cmp.Diff(append(of.Features.Names(), x.flags.Enabled(of)...), slices.Collect(names)); diff != "" {
		t.Fatalf("features (-of the tenant +explained):\n%s", diff)
	}
}

// checkSources compares where an explanation says that settings come from with what the documents say.
func (x *explained) checkSources(t *rapid.T, e *Explanation) {
	t.Helper()
	tiers, _ := x.tiers[string(e.Tier)].(map[string]any)
	account := x.account
	if x.config["account"] == nil {
		account = nil
	}
	if wantTier := account["tier"]; (wantTier != nil) != (e.TierSetting.Source == tenant.FromAccount) || wantTier != nil && wantTier != string(e.Tier) {
		t.Fatalf("the tier of the account is %v, explained %+v", wantTier, e.TierSetting)
	}
	said := func(object, member string) (sources []tenant.Source, values []any) {
		for _, d := range []struct {
			source tenant.Source
			doc    map[string]any
		}{{tenant.FromTenant, x.config}, {tenant.FromAccount, account}, {tenant.FromTiers, tiers}} {
			in := d.doc
			if object != "" {
				in, _ = d.doc[object].(map[string]any)
			}
			if value, ok := in[member]; ok {
				sources, values = append(sources, d.source), append(values, value)
			}
		}
		return append(sources, tenant.FromDefault), values
	}
	checkSetting := func(what string, object, member string, sources []tenant.Source, values []any) {
		t.Helper()
		wantSources, wantValues := said(object, member)
		if diff := cmp.Diff(wantSources, sources); diff != "" {
			t.Fatalf("sources of %s (-said +explained):\n%s", what, diff)
		}
		if got := fmt.Sprint(values[:len(wantValues)]); got != fmt.Sprint(wantValues) {
			t.Fatalf("%s: explained %s, the documents say %v", what, got, wantValues)
		}
	}
	for a, member := range []string{"commandsPerMinute", "eligibilityChecksPerHour", "syncRequestsPerDay", "userCommandsPerMinute"} {
		sources, values := layers(e.Limits[a].Limit)
		if e.Limits[a].Boost != nil && sources[0] == tenant.FromBoost {
			sources, values = sources[1:], values[1:]
		}
		checkSetting(member, "rateLimits", member, sources, values)
		if l := &e.Limits[a]; l.OnLimit != nil {
			sources, values = layers(*l.OnLimit)
			checkSetting("onLimit", "", "onLimit", sources, values)
			sources, values = layers(*l.MaxDelayed)
			checkSetting("maxDelayed", "", "maxDelayed", sources, values)
		}
	}
	sources, values := layers(e.Mode)
	checkSetting("mode", "", "mode", sources, values)
	for _, f := range e.Features {
		sources, values = layers(f.Setting)
		checkSetting(f.Name, "features", f.Name, sources, values)
	}
}

// layers are the values of a setting with their sources, the one in force first.
func layers[T any](s tenant.Setting[T]) (sources []tenant.Source, values []any) {
	sources, values = []tenant.Source{s.Source}, []any{s.Value}
	for _, b := range s.Beneath {
		sources, values = append(sources, b.Source), append(values, b.Value)
	}
	return sources, values
}
