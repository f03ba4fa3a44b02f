package tenant_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

// fuzzedMost is how many bytes of an input the fuzz targets look at: a longer one costs the time of many and finds
// nothing new.
const fuzzedMost = 4 << 10

type document interface {
	tenant.Config | tenant.Account | tenant.Flag | tenant.Tiers
}

// fuzzDocument holds the two parsers of a document against each other. What the strict one accepts is valid, and the
// lenient one reads the same; what either accepts stays itself when it is written and read again. use must take any
// accepted document.
func fuzzDocument[T document](f *testing.F, parse func([]byte) (T, error), use func(*T) error, seeds ...string) {
	f.Helper()
	for _, seed := range append(seeds, `[[[[`, `null`, ``, `{"x":{"y":[1,"\ud800"]}}`, `{"x":1,"x":2}`) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), fuzzedMost)]
		strict, refused := parse(data)
		stored, err := tenant.ParseStored[T](data)
		if err != nil {
			if refused == nil {
				t.Fatalf("accepted from a user, refused from a store: %v", err)
			}
			if len(faultFields(err)) == 0 || len(faultFields(refused)) == 0 {
				t.Fatalf("no fault is named: %v, %v", err, refused)
			}
			return
		}
		if refused == nil && !reflect.DeepEqual(strict, stored) {
			t.Fatalf("read from a user and from a store (-user +store):\n%s", cmp.Diff(strict, stored))
		}
		if err := use(&stored); err != nil {
			t.Fatalf("accepted, but invalid: %v", err)
		}
		text, err := json.Marshal(stored, json.Deterministic(true))
		if err != nil {
			t.Fatalf("accepted, but cannot be written: %v", err)
		}
		again, err := tenant.ParseStored[T](text)
		if err != nil {
			t.Fatalf("written as %s, refused: %v", text, err)
		}
		if rewritten, err := json.Marshal(again, json.Deterministic(true)); err != nil || !bytes.Equal(text, rewritten) {
			t.Fatalf("written as %s, then as %s, %v", text, rewritten, err)
		}
	})
}

func FuzzConfig(f *testing.F) {
	fuzzDocument(f, tenant.ParseConfig, func(c *tenant.Config) error {
		tenant.Resolve("comm", tenant.Documents{Config: c, Tiers: &tenant.Tiers{SKUs: map[string]tenant.Tier{"1": tenant.Pro}}}, noon).Features.Names()
		return c.Validate()
	}, fullConfig, `{"tier":"pro"}`, `{"tier":"free","tier":"pro"}`, `{"tier":"free","rateLimits":{"commandsPerMinute":1e3}}`, ` {"tier":"free"} `,
		`{"tier":"free","x":1,"features":{"y":[]},"createdAt":"yesterday"}`, `{"tier":"free","onLimit":"delay","maxDelayed":7}`,
		`{"tier":"free","onLimit":{"command":"delay","sync_request":null,"x":1}}`,
		`{"tier":"pro","tierFrom":"entitlement","entitlements":{"9":{"sku":"1","endsAt":"2026-01-31T12:00:00Z","at":"2026-01-01T00:00:00+01:00","x":1},"8":null}}`,
		`{"tier":"free","texts":{"*":{"error":"x"},"de":null,"en-US":{"rate_limited":"\ud800"}}}`,
		`{"tier":"free","boosts":{"commandsPerMinute":{"add":5,"until":"2026-01-31T12:00:00Z","x":1},"x":{}}}`,
		`{"tier":"free","account":"acme"}`, `{"tier":"free","account":"@acme"}`)
}

func FuzzAccount(f *testing.F) {
	member := &tenant.Config{Tier: tenant.Free, Account: "acme"}
	fuzzDocument(f, tenant.ParseAccount, func(a *tenant.Account) error {
		resolved := tenant.Resolve("comm", tenant.Documents{Config: member, Account: a, Tiers: new(tenant.Tiers)}, noon)
		if id := resolved.LimitID(tenant.Command); (id == "@acme") != (a.Counted == tenant.Together) {
			panic("counted under " + id)
		}
		return a.Validate()
	}, `{"tier":"pro"}`, `{"name":"Acme Inc.","tier":"pro","counted":"together","rateLimits":{"commandsPerMinute":500},"features":{"prioritySupport":true},`+
		`"onLimit":"delay","maxDelayed":9,"mode":"shadow","weight":7,"createdAt":"2026-01-31T12:00:00Z","updatedAt":"x"}`,
		`{"tier":"gold","counted":"both","name":"\u0000","x":1}`, `{"tier":"free","counted":null,"rateLimits":{"x":1},"onLimit":{"x":1}}`)
}

func FuzzTiers(f *testing.F) {
	fuzzDocument(f, tenant.ParseTiers, func(c *tenant.Tiers) error {
		for _, tier := range []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise} {
			tenant.Resolve("comm", tenant.Documents{Config: &tenant.Config{Tier: tier}, Tiers: c}, time.Time{})
		}
		return c.Validate()
	}, `{}`, `{"free":{"rateLimits":{"commandsPerMinute":20},"features":{"customBranding":true}}}`, `{"pro":{"rateLimits":{"commandsPerMinute":"20"}}}`,
		`{"enterprise":null,"pro":{"x":1},"y":[{}]}`, `{"free":{"rateLimits":{"syncRequestsPerDay":-1,"z":2}}}`,
		`{"pro":{"onLimit":{"command":"delay","eligibility_check":"delay","sync_request":"delay"},"maxDelayed":1}}`, `{"skus":{"7":"pro","1019475255913222144":"enterprise"}}`, `{"skus":{"x":"pro","7":"gold","8":1,"9":null}}`, `{"skus":{}}`)
}

func FuzzFlag(f *testing.F) {
	one := tenant.Resolve("comm", tenant.Documents{Tiers: new(tenant.Tiers)}, time.Time{})
	fuzzDocument(f, tenant.ParseFlag, func(c *tenant.Flag) error {
		if on := len(tenant.NewFlags(*c).Enabled(one)) == 1; on != c.On(one) {
			panic("a set of one flag differs from the flag")
		}
		return c.Validate()
	}, `{"id":"f","enabled":true}`, `{"id":"f","enabled":true,"tiers":["free"],"communities":{"include":["comm"],"exclude":[]},"rolloutPercent":1e1}`,
		`{"id":"f","rolloutPercent":-0,"description":"\u0000","communities":{"x":null}}`, `{"id":"f","tiers":["gold"],"enabled":1}`)
}

// FuzzEvent reads events as the channel and the change log carry them. What is accepted names what it may name, and the
// change log's form of it is read as the same event.
func FuzzEvent(f *testing.F) {
	for _, seed := range []string{
		`{"type":"tenant_config","targetId":"comm_007","timestamp":1767225600000,"source":"cli"}`, `{"type":"limit_reset","targetId":"a:b:command"}`,
		`{"type":"global_config","targetId":""}`, `{"type":"feature_flag","targetId":"beta.1"}`, `{"type":"limit_reset","targetId":":command"}`,
		`tenant_config:comm_007`, `limit_reset:a:b:user_command`, `limit_reset:@acme:command`, `account_config:acme`, `account_config:@acme`, `global_config:`, `feature_flag:x`, `:`, `{`, ``,
	} {
		f.Add([]byte(seed), int64(1767225600000))
	}
	f.Fuzz(func(t *testing.T, data []byte, ms int64) {
		data = data[:min(len(data), fuzzedMost)]
		at := time.UnixMilli(ms).UTC()
		for _, parse := range []func() (tenant.Event, error){
			func() (tenant.Event, error) { return tenant.ParseEvent(data) },
			func() (tenant.Event, error) { return tenant.ParseMember(string(data), at) },
		} {
			e, err := parse()
			if err != nil {
				if len(err.Error()) > 400 {
					t.Fatalf("the error repeats the input: %v", err)
				}
				continue
			}
			again, err := tenant.ParseMember(e.Member(), e.At)
			if again.Source = e.Source; err != nil || again != e {
				t.Fatalf("%q is read as %+v, and from the change log as %+v, %v", data, e, again, err)
			}
			id, actions, reset := e.Reset()
			if reset && (!tenant.ValidID(strings.TrimPrefix(id, "@")) || len(actions) == 0) || (e.Type == tenant.TenantChanged || e.Type == tenant.AccountChanged) && !tenant.ValidID(e.TargetID) {
				t.Fatalf("%q is read as %+v", data, e)
			}
			if len(e.TargetID) > 200 || len(e.Source) > 400 {
				t.Fatalf("%d bytes of target, %d of source", len(e.TargetID), len(e.Source))
			}
		}
	})
}
