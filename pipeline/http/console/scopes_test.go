package console

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Each session is shown the controls that its scopes are for, and no others.
func TestControlsByScope(t *testing.T) {
	b := newBed(t)
	b.put(t, "comm_7", `{"tier":"pro","boosts":{"commandsPerMinute":{"add":7,"until":"2999-01-01T00:00:00Z"}}}`)
	if _, _, err := b.store.PutFlag(t.Context(), tenant.Flag{ID: "dark", Enabled: true}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	letter := fmt.Sprint("/deadletters/", b.storeCommand(t, "comm_7"))
	control := regexp.MustCompile(`data-(?:api|flag)="([^"]*)"|id="(bulk)"|name="(tier|features|mode|rateLimits|boosts)[".]`)
	controls := func(page string) []string {
		var found []string
		for _, m := range control.FindAllStringSubmatch(page, -1) {
			found = append(found, m[1]+m[2]+m[3])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	change, config := "PATCH /v1/tenants/comm_7", "/tenants/comm_7"
	ofLimits := []string{"DELETE /v1/tenants/comm_7/usage", change, "POST /v1/tenants/comm_7/boost", "boosts", "mode", "rateLimits"}
	ofTiers := []string{"/v1/flags/dark", "DELETE /v1/tenants/comm_7", change, "boosts", "features", "mode", "rateLimits", "tier"}
	ofLetter := []string{"DELETE /v1" + letter, "POST /v1" + letter + "/replay"}
	every := append(slices.Clone(ofTiers), ofLimits...)
	slices.Sort(every)
	for token, want := range map[string]struct {
		bounds                string
		tenant, list, letters []string
	}{
		viewToken:    {"View only", nil, nil, nil},
		limitsToken:  {"Only limits", ofLimits, nil, nil},
		tiersToken:   {"Only tenants, accounts and flags", ofTiers, nil, nil},
		lettersToken: {"Only dead letters", nil, []string{"bulk"}, ofLetter},
		adminToken:   {"", slices.Compact(every), []string{"bulk"}, ofLetter},
	} {
		for path, want := range map[string][]string{config: want.tenant, "/deadletters": want.list, letter: want.letters, "/tenants": nil, "/changes": nil} {
			r := b.ask(t, http.MethodGet, path, "", "Authorization", "Bearer "+token)
			if diff := cmp.Diff(want, controls(r.body)); diff != "" || r.status != http.StatusOK {
				t.Errorf("%s with %s: %d, -want +got:\n%s", path, token, r.status, diff)
			}
		}
		r := b.ask(t, http.MethodGet, "/", "", "Authorization", "Bearer "+token)
		if strings.Contains(r.body, `class="badge" title="What can be changed`) == (want.bounds == "") || !strings.Contains(r.body, want.bounds) {
			t.Errorf("with %s the page does not say %q", token, want.bounds)
		}
	}
}

// Without a config, or with one that cannot be used, the scope limits has what it may do with it.
func TestLimitsWithoutConfig(t *testing.T) {
	b := newBed(t)
	b.set(t, "tenant:config:broken", `{"tier":`)
	for path, want := range map[string]bool{"/tenants/nobody": true, "/tenants/broken": false} {
		r := b.ask(t, http.MethodGet, path, "", "Authorization", "Bearer "+limitsToken)
		form := `<form class="stack" data-api="PATCH /v1` + path + `" data-type="application/merge-patch+json" data-said`
		if strings.Contains(r.body, form) != want || strings.Contains(r.body, `data-api="PUT`) || strings.Contains(r.body, `id="change"`) != want {
			t.Errorf("%s: %s", path, r.body)
		}
	}
}

// A template that asks for a scope that there is not is found.
func TestMayKnowsScopes(t *testing.T) {
	if _, err := (&frame{}).May("limit"); err == nil {
		t.Error("no error")
	}
}
