package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/limiter"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// putAccount stores an account.
func (b *bed) putAccount(tb testing.TB, id, document string) {
	tb.Helper()
	a, err := tenant.ParseAccount([]byte(document))
	if err != nil {
		tb.Fatal(err)
	}
	if _, _, err := b.store.PutAccount(store.WithOrigin(tb.Context(), store.Origin{Actor: "cli:ada", From: "host"}), id, a, store.PutOptions{}); err != nil {
		tb.Fatal(err)
	}
}

// wantText fails the test if a page does not show all texts.
func (b *bed) wantText(t *testing.T, path string, want ...string) {
	t.Helper()
	r := b.ask(t, http.MethodGet, path, "")
	text := textOf(r.body)
	for _, w := range want {
		if r.status != http.StatusOK || !strings.Contains(text, w) {
			t.Errorf("%s: %d, no %q in %s", path, r.status, w, text)
		}
	}
}

// The page of an account shows what it gives, what is used of it, who is in it and what has changed.
func TestAccountPage(t *testing.T) {
	b := newBed(t)
	b.putAccount(t, "acme", `{"name":"Acme <b>Inc.</b>","tier":"pro","counted":"together","rateLimits":{"commandsPerMinute":500},"mode":"shadow"}`)
	const members = 60
	for i := range members {
		b.put(t, fmt.Sprintf("comm_%02d", i), `{"tier":"free","account":"acme"}`)
	}
	b.put(t, "comm_01", `{"tier":"free","account":"acme","rateLimits":{"commandsPerMinute":7}}`)
	b.put(t, "other", `{"tier":"free"}`)
	limit := limiter.Limit{Max: 1_000, Window: time.Hour} // so that they are still counted on a slow machine
	if _, err := b.limits.Limiter.Allow(t.Context(), shard.Key("@acme", tenant.EligibilityCheck), limit, "e1", "e2", "e3"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.limits.Reset(t.Context(), "comm_02", tenant.SyncRequest); err != nil {
		t.Fatal(err)
	}
	b.wantText(t, "/accounts", "acme shadow Acme <b>Inc.</b> pro together 500 1,000 10 unlimited")
	b.wantText(t, "/accounts?id=globex", "globex look at it, or make it")
	b.wantText(t, "/accounts/acme", "acme Acme <b>Inc.</b> pro All accounts", "counted for all communities together, but for those of users",
		"command in 1 min 500 0 0%", "eligibility check in 1 h 1,000 3 <1%", "user command in 1 min, of each user unlimited – see the community", "comm_01 shadow pro 7 1,000 10 unlimited 2",
		"account acme created", "cli:ada from host", "Limits are counted for each community for all together")
	r := b.ask(t, http.MethodGet, "/accounts/acme", "")
	_, v, err := b.store.GetAccount(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf(`data-api="PATCH /v1/accounts/acme" data-type="application/merge-patch+json" data-if-match="&#34;%s&#34;"`, v),
		`<option value="together" selected>`, `name="rateLimits.commandsPerMinute" value="500" placeholder="100"`, `data-api="DELETE /v1/accounts/acme"`,
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %s in %s", want, r.body)
		}
	}
	found, next := 0, []string{"/accounts/acme"}
	for len(next) > 0 {
		r := b.ask(t, http.MethodGet, next[0], "")
		found += strings.Count(r.body, `<tr data-key="comm_`)
		if strings.Contains(r.body, "<b>") || strings.Contains(r.body, `data-key="other"`) {
			t.Errorf("%s: %s", next[0], r.body)
		}
		next = linked(r.body, "Next")
	}
	if found != members {
		t.Errorf("%d communities on all pages, want %d", found, members)
	}
	b.wantText(t, "/changes?target="+url.QueryEscape("@acme"), "reset @acme reset: sync_request")
	for path, text := range map[string]string{"/changes?type=reset": "@acme", "/changes?type=account": "acme"} {
		if links := linked(b.ask(t, http.MethodGet, path, "").body, text); len(links) != 1 || links[0] != "/accounts/acme" {
			t.Errorf("%s: links %v", path, links)
		}
	}
}

// An account that is not there can be made, and one whose document cannot be used can be replaced.
func TestAccountPageOfNone(t *testing.T) {
	b := newBed(t)
	b.set(t, "account:config:bad", `{"tier":"<img src=x onerror=alert(1)>"}`)
	b.wantText(t, "/accounts/acme", "there is no such account", "None is in it.", "None is known.")
	for path, form := range map[string]string{
		"/accounts/acme": `data-api="PUT /v1/accounts/acme" data-if-none-match="*"`, "/accounts/bad": `data-api="PUT /v1/accounts/bad" data-if-match="`,
	} {
		if r := b.ask(t, http.MethodGet, path, ""); !strings.Contains(r.body, form) || strings.Contains(r.body, "<img") {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	b.wantText(t, "/accounts/bad", "document cannot be used")
	b.wantText(t, "/accounts", "bad cannot be used")
	for _, path := range []string{"/accounts/a.b", "/accounts?id=a.b", "/accounts?cursor=x", "/accounts/acme?cursor=x"} {
		if r := b.ask(t, http.MethodGet, path, ""); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

// The pages of a community say in which account it is, and its form has what it has without it.
func TestTenantPageInAnAccount(t *testing.T) {
	b := newBed(t)
	b.putAccount(t, "acme", `{"name":"Acme","tier":"pro","counted":"together","rateLimits":{"commandsPerMinute":500},"features":{"prioritySupport":true},"weight":7}`)
	b.put(t, "comm_1", `{"tier":"enterprise","account":"acme","rateLimits":{"syncRequestsPerDay":3}}`)
	b.wantText(t, "/tenants", "comm_1 pro acme 500 1,000 3 unlimited 7")
	b.wantText(t, "/tenants/comm_1", "Account acme (Acme): limits are counted together for all of its communities",
		"Tier pro from the account acme, over enterprise, set by hand", "0 of the account's 500 commands of the last minute are used",
		"command in 1 min 0 0% 500 account 100 (default of the tier)", "sync request in 24 h 0 0% 3 this config 10 (default of the tier)",
		"prioritySupport on account off (default of the tier)", "Commands a minute · account: 500", "Weight · account: 7", "As the account: on",
		"Tier, out of the account free pro enterprise")
	r := b.ask(t, http.MethodGet, "/tenants/comm_1", "")
	for _, want := range []string{
		`<option selected>enterprise</option>`, `name="account" value="acme"`, `href="/accounts/acme"`,
		"This also goes for all other communities of the account acme, whose limits are counted together.",
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %s in %s", want, r.body)
		}
	}
	if err := b.store.DeleteAccount(t.Context(), "acme", "", store.EvenIfUsed); err != nil {
		t.Fatal(err)
	}
	b.wantText(t, "/tenants/comm_1", "acme: there is no such account, so the config alone counts", "Tier enterprise, set by hand", "Commands a minute · tier: unlimited")
}

// Each session is shown the controls of an account that its scopes are for.
func TestAccountControlsByScope(t *testing.T) {
	b := newBed(t)
	b.putAccount(t, "acme", `{"tier":"pro"}`)
	for token, want := range map[string][]string{
		viewToken:   {},
		limitsToken: {"PATCH", "rateLimits."},
		tiersToken:  {"PATCH", "DELETE", "rateLimits.", "tier", "counted"},
	} {
		r := b.ask(t, http.MethodGet, "/accounts/acme", "", "Authorization", "Bearer "+token)
		got := []string{}
		for _, control := range []string{"PATCH", "DELETE", "rateLimits.", "tier", "counted"} {
			if strings.Contains(r.body, `data-api="`+control+" /v1/accounts/acme") || strings.Contains(r.body, `name="`+control) {
				got = append(got, control)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || r.status != http.StatusOK {
			t.Errorf("%s: %d, (-want +got):\n%s", token, r.status, diff)
		}
	}
}
