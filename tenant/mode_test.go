package tenant_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

// The mode of a tenant is its own, else that of its tier, else enforce.
func TestMode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		doc, tiers string // no doc: no config
		want       tenant.Mode
	}{
		{``, `{}`, tenant.Enforce},
		{``, `{"free":{"mode":"shadow"}}`, tenant.Shadow},
		{`{"tier":"pro"}`, `{"free":{"mode":"shadow"}}`, tenant.Enforce},
		{`{"tier":"pro"}`, `{"pro":{"mode":"shadow"}}`, tenant.Shadow},
		{`{"tier":"pro","mode":null}`, `{"pro":{"mode":"shadow"}}`, tenant.Shadow},
		{`{"tier":"pro","mode":"enforce"}`, `{"pro":{"mode":"shadow"}}`, tenant.Enforce},
		{`{"tier":"pro","mode":"shadow"}`, `{}`, tenant.Shadow},
	} {
		config, tiers := parsed(t, tt.doc, tt.tiers)
		if got := tenant.Resolve("c", tenant.Documents{Config: config, Tiers: tiers}, time.Time{}).Mode(); got != tt.want {
			t.Errorf("%s with the tiers %s: mode %s, want %s", tt.doc, tt.tiers, got, tt.want)
		}
	}
}

func TestModeRefuses(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{`"off"`, `""`, `"Shadow"`, `true`, `{}`} {
		_, err := tenant.ParseConfig([]byte(`{"tier":"pro","mode":` + mode + `}`))
		if diff := cmp.Diff([]string{"mode"}, faultFields(err)); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s%v", mode, diff, err)
		}
		_, err = tenant.ParseTiers([]byte(`{"pro":{"mode":` + mode + `}}`))
		if diff := cmp.Diff([]string{"pro.mode"}, faultFields(err)); diff != "" {
			t.Errorf("%s: faults of tiers (-want +got):\n%s%v", mode, diff, err)
		}
	}
}
