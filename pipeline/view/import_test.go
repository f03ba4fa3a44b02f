package view

import (
	"strings"
	"testing"

	"arrakis/tenant"
)

// TestParseTenants: of a tenant that two pages have, the last entry counts.
func TestParseTenants(t *testing.T) {
	t.Parallel()
	all, next, err := ParseTenants(strings.NewReader(`{"tenants":[{"id":"a","tier":"pro"},{"id":"b","tier":"pro"}],"next":"1"}
		{"tenants":[{"id":"a","tier":"free"}]}`))
	if err != nil || next != "" || len(all) != 2 || all[0].ID != "a" || all[0].Config.Tier != tenant.Free || all[1].ID != "b" {
		t.Errorf("%+v, %q, %v", all, next, err)
	}
}

// TestParseNoTenants: what a list that failed has printed is not a list without tenants.
func TestParseNoTenants(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{``: false, " \n": false, `null`: false, `{}`: false, `{"tenants":[]}`: true} {
		if _, _, err := ParseTenants(strings.NewReader(text)); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
