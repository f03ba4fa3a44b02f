package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const path = "/v1/accounts/acme"
	b.do(t, "GET", path, "").want(t, 404)
	if p := b.do(t, "PATCH", "/v1/tenants/c1", `{"account":"acme"}`).want(t, 400).problem(t); p.Field != "account" || !strings.Contains(p.Detail, "create it") {
		t.Errorf("a tenant in an account that is not there: %+v", p)
	}
	made := b.do(t, "PUT", path, `{"name":"Acme","tier":"pro","counted":"together","rateLimits":{"commandsPerMinute":7}}`).want(t, 201)
	got := b.do(t, "GET", path, "").want(t, 200)
	if got.body != made.body || got.header.Get("ETag") != made.header.Get("ETag") || got.header.Get("ETag") == "" {
		t.Errorf("PUT answers %v %s\nGET answers %v %s", made.header, made.body, got.header, got.body)
	}
	b.do(t, "PUT", path, got.body).want(t, 200)
	b.do(t, "PATCH", path, `{"counted":null,"rateLimits":{"syncRequestsPerDay":3}}`).want(t, 200)
	if r := b.do(t, "GET", path, ""); !strings.Contains(r.body, `"tier":"pro","features":{},"rateLimits":{"commandsPerMinute":7,"syncRequestsPerDay":3}`) {
		t.Errorf("after a PATCH: %s", r.body)
	}
	p := b.do(t, "PUT", path, `{"tier":"gold","counted":"both"}`).want(t, 400).problem(t)
	if len(p.Errors) != 2 || p.Errors[0].Field != "tier" || p.Errors[1].Field != "counted" {
		t.Errorf("faults %+v", p)
	}
	if p := b.do(t, "PUT", "/v1/accounts/a.b", `{"tier":"pro"}`).want(t, 400).problem(t); p.Field != "account" {
		t.Errorf("a bad ID: %+v", p)
	}
	var list struct {
		Accounts []struct{ ID, ETag, Tier string }
		Next     string
	}
	b.do(t, "GET", "/v1/accounts?limit=1", "").want(t, 200).decode(t, &list)
	if len(list.Accounts) != 1 || list.Accounts[0].ID != "acme" || list.Accounts[0].Tier != "pro" || list.Accounts[0].ETag == "" || list.Next != "" {
		t.Errorf("list %+v", list)
	}
	b.do(t, "GET", "/v1/accounts?cursor=x", "").want(t, 400)
}

// What its tenants have says so, and the account is not deleted while there are any.
func TestAccountOfTenants(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.do(t, "PUT", "/v1/accounts/acme", `{"name":"Acme","tier":"pro","counted":"together","rateLimits":{"commandsPerMinute":7}}`).want(t, 201)
	for i := range 3 {
		b.do(t, "PUT", fmt.Sprint("/v1/tenants/c", i), `{"tier":"free","account":"acme"}`).want(t, 201)
	}
	b.do(t, "PUT", "/v1/tenants/other", `{"tier":"free"}`).want(t, 201)
	found := map[string]bool{}
	for next := "/v1/accounts/acme/communities?limit=2"; next != ""; {
		r := b.do(t, "GET", next, "").want(t, 200)
		var page tenantPage
		r.decode(t, &page)
		for _, e := range page.Tenants {
			found[e.ID] = true
		}
		link, _ := strings.CutSuffix(r.header.Get("Link"), `>; rel="next"`)
		next = strings.TrimPrefix(link, "<")
	}
	if len(found) != 3 || found["other"] {
		t.Errorf("its communities are %v", found)
	}
	const membership = `"account":{"id":"acme","name":"Acme","counted":"together"}`
	for _, path := range []string{"/usage", "/explain"} {
		if r := b.do(t, "GET", "/v1/tenants/c1"+path, "").want(t, 200); !strings.Contains(r.body, membership) || !strings.Contains(r.body, `"tier":"pro"`) {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	b.charge(t, "@acme:command", aMinute, 3)
	if r := b.do(t, "GET", "/v1/tenants/c2/usage", "").want(t, 200); !strings.Contains(r.body, `"action":"command","used":3,"limit":7,"remaining":4`) {
		t.Errorf("usage of one of them: %s", r.body)
	}
	if r := b.do(t, "DELETE", "/v1/tenants/c0/usage/command", "").want(t, 200); r.body != `{"community_id":"c0","reset":["command"],"account":"acme"}`+"\n" {
		t.Errorf("reset of one of them: %s", r.body)
	}
	if r := b.do(t, "GET", "/v1/tenants/c2/usage", "").want(t, 200); !strings.Contains(r.body, `"action":"command","used":0,`) {
		t.Errorf("usage of another one after that: %s", r.body)
	}

	p := b.do(t, "DELETE", "/v1/accounts/acme", "").want(t, http.StatusConflict).problem(t)
	if p.Type != "urn:arrakis:problem:account-used" || !strings.Contains(p.Detail, `such as "c`) || !strings.Contains(p.Detail, "?force=true") {
		t.Errorf("%+v", p)
	}
	b.do(t, "DELETE", "/v1/accounts/acme?force=false", "").want(t, http.StatusConflict)
	if p := b.do(t, "DELETE", "/v1/accounts/acme?force=yes", "").want(t, 400).problem(t); p.Field != "force" {
		t.Errorf("%+v", p)
	}
	b.do(t, "DELETE", "/v1/accounts/acme?force=true", "").want(t, 204)
	if r := b.do(t, "GET", "/v1/tenants/c1/explain", "").want(t, 200); !strings.Contains(r.body, `"account":{"id":"acme"}`) || !strings.Contains(r.body, `"tier":"free"`) {
		t.Errorf("explain without the account: %s", r.body)
	}
	b.do(t, "PATCH", "/v1/tenants/c1", `{"account":null}`).want(t, 200)
	if r := b.do(t, "GET", "/v1/tenants/c1", "").want(t, 200); strings.Contains(r.body, "account") {
		t.Errorf("out of the account: %s", r.body)
	}
}
