package tenant_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

const fullConfig = `{"communityId":"comm_1","guildId":"123","tier":"pro",
 "features":{"customBranding":false,"advancedAnalytics":true,"prioritySupport":null},
 "rateLimits":{"commandsPerMinute":-1,"eligibilityChecksPerHour":0,"syncRequestsPerDay":1000000000,"userCommandsPerMinute":5},
 "createdAt":"2026-01-31T12:00:00Z","updatedAt":"2026-01-31T13:00:00.123Z"}`

// parsed are the documents of a tenant and of the tiers. A config of "" is none.
func parsed(t *testing.T, config, tiers string) (*tenant.Config, *tenant.Tiers) {
	t.Helper()
	overrides, err := tenant.ParseTiers([]byte(tiers))
	if err != nil {
		t.Fatal(err)
	}
	if config == "" {
		return nil, &overrides
	}
	c, err := tenant.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return &c, &overrides
}

func ptr[T any](v T) *T { return &v }

func TestParseConfig(t *testing.T) {
	t.Parallel()
	got, err := tenant.ParseConfig([]byte(fullConfig))
	if err != nil {
		t.Fatal(err)
	}
	want := tenant.Config{
		CommunityID: "comm_1", GuildID: "123", Tier: tenant.Pro,
		Features: tenant.FeatureOverrides{CustomBranding: ptr(false), AdvancedAnalytics: ptr(true)},
		RateLimits: tenant.LimitOverrides{
			CommandsPerMinute: ptr(int64(-1)), EligibilityChecksPerHour: ptr(int64(0)),
			SyncRequestsPerDay: ptr(int64(1_000_000_000)), UserCommandsPerMinute: ptr(int64(5)),
		},
		CreatedAt: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		UpdatedAt: time.Date(2026, 1, 31, 13, 0, 0, 123e6, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseConfig (-want +got):\n%s", diff)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		doc    string
		fields []string // of the faults, in any order
	}{
		{``, []string{""}},
		{`nonsense`, []string{""}},
		{`[]`, []string{""}},
		{`null`, []string{""}},
		{`{"tier":"pro"`, []string{""}},
		{`{"tier":"pro"} {}`, []string{""}},
		{"{\"tier\":\"pro\",\"guildId\":\"\xff\"}", []string{""}},
		{`{"tier":"pro","x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, []string{""}},
		{`{"tier":"pro"}` + strings.Repeat(" ", tenant.MaxDocument), []string{""}},
		{`{}`, []string{"tier"}},
		{`{"tier":null}`, []string{"tier"}},
		{`{"tier":"Pro"}`, []string{"tier"}},
		{`{"tier":3}`, []string{"tier"}},
		{`{"tier":"pro","tier":"free"}`, []string{"tier"}},
		{`{"tier":"pro","Tier":"free"}`, []string{"Tier"}},
		{`{"tier":"pro","features":{"customBranding":true,"customBranding":true}}`, []string{"features.customBranding"}},
		{`{"tier":"pro","features":[]}`, []string{"features"}},
		{`{"tier":"pro","guildId":123,"communityId":"a b"}`, []string{"guildId", "communityId"}},
		{
			`{"teir":"pro","features":{"customBranding":1,"dark":true},"rateLimits":{"commandsPerMinute":-2,"syncRequestsPerDay":1.5,"userCommandsPerMinute":"5","eligibilityChecksPerHour":1000000001}}`,
			[]string{
				"teir", "tier", "features.customBranding", "features.dark", "rateLimits.commandsPerMinute",
				"rateLimits.syncRequestsPerDay", "rateLimits.userCommandsPerMinute", "rateLimits.eligibilityChecksPerHour",
			},
		},
		{`{"tier":"pro","createdAt":"yesterday","updatedAt":1700000000000}`, []string{"createdAt", "updatedAt"}},
	}
	for _, tt := range tests {
		_, err := tenant.ParseConfig([]byte(tt.doc))
		got := faultFields(err)
		slices.Sort(got)
		slices.Sort(tt.fields)
		if diff := cmp.Diff(tt.fields, got); diff != "" {
			t.Errorf("%.80s: faults (-want +got):\n%s%v", tt.doc, diff, err)
		}
	}
}

// faultFields are the fields of the FieldErrors that err joins.
func faultFields(err error) []string {
	var fields []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			fields = append(fields, faultFields(e)...)
		}
		return fields
	}
	var field *tenant.FieldError
	if errors.As(err, &field) {
		fields = append(fields, field.Field)
	}
	return fields
}

// An error does not grow with what it complains of.
func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	var doc strings.Builder
	doc.WriteString(`{"` + strings.Repeat("long", 1000) + `":1`)
	for i := range 5000 {
		fmt.Fprintf(&doc, `,"f%d":1`, i)
	}
	doc.WriteString("}")
	_, err := tenant.ParseConfig([]byte(doc.String()))
	if err == nil || len(err.Error()) > 5000 {
		t.Errorf("the error is %d bytes long", len(err.Error()))
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	c, err := tenant.ParseConfig([]byte(fullConfig))
	if err != nil {
		t.Fatal(err)
	}
	before := c
	if err := c.Merge([]byte(`{"tier":"free","guildId":"\u0000"}`)); err == nil {
		t.Error("a bad patch is accepted")
	}
	if diff := cmp.Diff(before, c); diff != "" {
		t.Errorf("a bad patch changed the config:\n%s", diff)
	}
	if err := c.Merge([]byte(`{"tier":"free","features":{"customBranding":null},"rateLimits":null}`)); err != nil {
		t.Fatal(err)
	}
	want := before
	want.Tier = tenant.Free
	want.Features.CustomBranding = nil
	want.RateLimits = tenant.LimitOverrides{}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("Merge (-want +got):\n%s", diff)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	tests := []struct {
		tier tenant.Tier
		want tenant.TierDefaults
	}{
		{tenant.Free, tenant.TierDefaults{Max: [tenant.NumActions]int64{10, 100, 1, -1}, Weight: 1}},
		{tenant.Pro, tenant.TierDefaults{Max: [tenant.NumActions]int64{100, 1000, 10, -1}, Features: tenant.CustomBranding | tenant.AdvancedAnalytics, Weight: 2}},
		{tenant.Enterprise, tenant.TierDefaults{Max: [tenant.NumActions]int64{-1, -1, -1, -1}, Features: 15, Weight: 4}},
	}
	for _, tt := range tests {
		got := tenant.Resolve("a", tenant.Documents{Config: &tenant.Config{Tier: tt.tier}, Tiers: new(tenant.Tiers)}, time.Time{})
		want := &tenant.Tenant{ID: "a", Tier: tt.tier, Max: tt.want.Max, Features: tt.want.Features, Weight: tt.want.Weight, Stored: true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.tier, diff)
		}
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	windows := map[string]time.Duration{
		"command": time.Minute, "eligibility_check": time.Hour, "sync_request": 24 * time.Hour, "user_command": time.Minute,
	}
	for name, window := range windows {
		a, err := tenant.ParseAction(name)
		if err != nil || a.String() != name || a.Window() != window {
			t.Errorf("%s: %v with window %v, %v", name, a, a.Window(), err)
		}
	}
	if _, err := tenant.ParseAction("Command"); err == nil {
		t.Error("ParseAction accepts Command")
	}
	if got := tenant.Action(9).String(); got != "action(9)" {
		t.Errorf("no action is %q", got)
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"": false, "a": true, "A:z_0-9": true, "a b": false, "a.b": false, "é": false, "a*": false, "@": false,
		"[": false, "`": false, "{": false, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false, "a\n": false,
	} {
		if got := tenant.ValidID(id); got != want {
			t.Errorf("ValidID(%q) = %v", id, got)
		}
	}
}
