package tenant_test

import (
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

// delayed is MaxDelayed of a tenant: commands, eligibility checks, sync requests.
func delayed(n ...int64) (m [tenant.NumActions]int64) {
	copy(m[:], n)
	return m
}

// What a document says of messages over the limit is resolved against its tier, and is written in one form.
func TestOnLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, doc, tiers string
		want             [tenant.NumActions]int64
		written          string // onLimit, as it is written
	}{
		{"off by default", `{"tier":"pro"}`, `{}`, delayed(), ``},
		{"no config", ``, `{"free":{"onLimit":{"command":"delay"},"maxDelayed":7}}`, delayed(7), ``},
		{"all actions", `{"tier":"pro","onLimit":"delay"}`, `{}`, delayed(100, 100, 100), `"delay"`},
		{
			"all, said one by one", `{"tier":"pro","maxDelayed":3,"onLimit":{"command":"delay","eligibility_check":"delay","sync_request":"delay"}}`,
			`{}`, delayed(3, 3, 3), `"delay"`,
		},
		{"one action", `{"tier":"pro","onLimit":{"sync_request":"delay"},"maxDelayed":10000}`, `{}`, delayed(0, 0, 10_000), `{"sync_request":"delay"}`},
		{"a number alone", `{"tier":"pro","maxDelayed":5}`, `{}`, delayed(), ``},
		{"of the tier", `{"tier":"pro"}`, `{"pro":{"onLimit":"delay","maxDelayed":20}}`, delayed(20, 20, 20), ``},
		{"number beside the tier's", `{"tier":"pro","maxDelayed":1}`, `{"pro":{"onLimit":"delay","maxDelayed":20}}`, delayed(1, 1, 1), ``},
		{"one action beside the tier's", `{"tier":"pro","onLimit":{"command":"reject"}}`, `{"pro":{"onLimit":"delay"}}`, delayed(0, 100, 100), `{"command":"reject"}`},
		{"rejects beside the tier's", `{"tier":"pro","onLimit":"reject"}`, `{"pro":{"onLimit":"delay"}}`, delayed(), `"reject"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, tiers := parsed(t, tt.doc, tt.tiers)
			if got := tenant.Resolve("c", tenant.Documents{Config: c, Tiers: tiers}, time.Time{}).MaxDelayed; got != tt.want {
				t.Errorf("delays %v, want %v", got, tt.want)
			}
			if c == nil {
				return
			}
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var written struct {
				OnLimit any `json:"onLimit"`
			}
			var want any
			if err := json.Unmarshal(text, &written); err != nil {
				t.Fatal(err)
			}
			if tt.written != "" {
				if err := json.Unmarshal([]byte(tt.written), &want); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, written.OnLimit); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnLimitMerges(t *testing.T) {
	t.Parallel()
	c := tenant.Config{Tier: tenant.Pro}
	for _, step := range []struct {
		patch string
		want  [tenant.NumActions]int64
	}{
		{`{"onLimit":"delay"}`, delayed(100, 100, 100)},
		{`{"onLimit":{"command":"reject"},"maxDelayed":8}`, delayed(0, 8, 8)},
		{`{"onLimit":{"eligibility_check":null}}`, delayed(0, 0, 8)},
		{`{"maxDelayed":null}`, delayed(0, 0, 100)},
		{`{"onLimit":null}`, delayed()},
	} {
		if err := c.Merge([]byte(step.patch)); err != nil {
			t.Fatal(err)
		}
		if got := tenant.Resolve("c", tenant.Documents{Config: &c, Tiers: new(tenant.Tiers)}, time.Time{}).MaxDelayed; got != step.want {
			t.Errorf("after %s: delays %v, want %v", step.patch, got, step.want)
		}
	}
	if diff := cmp.Diff(tenant.Config{Tier: tenant.Pro}, c); diff != "" {
		t.Errorf("something is left (-want +got):\n%s", diff)
	}
}

func TestOnLimitRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		doc    string
		fields []string
	}{
		{`{"tier":"pro","onLimit":"wait"}`, []string{"onLimit.command", "onLimit.eligibility_check", "onLimit.sync_request"}},
		{`{"tier":"pro","onLimit":1,"maxDelayed":"5"}`, []string{"onLimit", "maxDelayed"}},
		{`{"tier":"pro","onLimit":["delay"]}`, []string{"onLimit"}},
		{`{"tier":"pro","onLimit":{"command":true,"sync_request":"Delay","user_command":"delay"}}`, []string{"onLimit.command", "onLimit.sync_request", "onLimit.user_command"}},
		{`{"tier":"pro","maxDelayed":0}`, []string{"maxDelayed"}},
		{`{"tier":"pro","maxDelayed":10001}`, []string{"maxDelayed"}},
		{`{"tier":"pro","maxDelayed":1.5}`, []string{"maxDelayed"}},
	} {
		_, err := tenant.ParseConfig([]byte(tt.doc))
		got := faultFields(err)
		slices.Sort(got)
		slices.Sort(tt.fields)
		if diff := cmp.Diff(tt.fields, got); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s%v", tt.doc, diff, err)
		}
	}
	_, err := tenant.ParseTiers([]byte(`{"free":{"onLimit":{"command":"no"},"maxDelayed":-1}}`))
	if diff := cmp.Diff([]string{"free.onLimit.command", "free.maxDelayed"}, faultFields(err)); diff != "" {
		t.Errorf("tiers: faults (-want +got):\n%s", diff)
	}
}
