package tenant_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"arrakis/tenant"
)

func TestWeight(t *testing.T) {
	for _, tt := range []struct {
		config, tiers string
		want          int
	}{
		{`{"tier":"free"}`, `{}`, 1},
		{`{"tier":"pro"}`, `{}`, 2},
		{`{"tier":"enterprise"}`, `{}`, 4},
		{`{"tier":"free","features":{"prioritySupport":true}}`, `{}`, 2},
		{`{"tier":"pro","features":{"prioritySupport":true}}`, `{}`, 4},
		{`{"tier":"enterprise","features":{"prioritySupport":true}}`, `{}`, 4},
		{`{"tier":"enterprise","features":{"prioritySupport":false}}`, `{}`, 4},
		{`{"tier":"pro","features":{"customBranding":false}}`, `{}`, 2},
		{`{"tier":"pro"}`, `{"pro":{"features":{"prioritySupport":true}}}`, 4},
		{`{"tier":"pro","features":{"prioritySupport":false}}`, `{"pro":{"features":{"prioritySupport":true}}}`, 2},
		{`{"tier":"pro"}`, `{"pro":{"weight":7}}`, 7},
		{`{"tier":"pro","features":{"prioritySupport":true}}`, `{"pro":{"weight":7}}`, 7},
		{`{"tier":"free"}`, `{"pro":{"weight":7}}`, 1},
		{`{"tier":"pro","weight":1}`, `{"pro":{"weight":7}}`, 1},
		{`{"tier":"free","weight":100,"features":{"prioritySupport":true}}`, `{}`, 100},
	} {
		config, tiers := parsed(t, tt.config, tt.tiers)
		if got := tenant.Resolve("c", tenant.Documents{Config: config, Tiers: tiers}, time.Time{}).Weight; got != tt.want {
			t.Errorf("%s with tiers %s: weight %d, want %d", tt.config, tt.tiers, got, tt.want)
		}
	}
	tiers, err := tenant.ParseTiers([]byte(`{"free":{"weight":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := tenant.Resolve("c", tenant.Documents{Tiers: &tiers}, time.Time{}).Weight; got != 3 {
		t.Errorf("a community without a config has weight %d, want the 3 of its tier", got)
	}
}

func TestWeightIsRefused(t *testing.T) {
	for _, value := range []string{"0", "-1", "101", "1.5", `"4"`} {
		if _, err := tenant.ParseConfig(fmt.Appendf(nil, `{"tier":"pro","weight":%s}`, value)); err == nil || !strings.HasPrefix(err.Error(), "weight: must be") {
			t.Errorf("weight %s of a tenant: %v", value, err)
		}
		if _, err := tenant.ParseTiers(fmt.Appendf(nil, `{"free":{"weight":%s}}`, value)); err == nil || !strings.HasPrefix(err.Error(), "free.weight: must be") {
			t.Errorf("weight %s of a tier: %v", value, err)
		}
	}
}
