package admin

import (
	"strings"
	"testing"

	"arrakis/tenant"
)

func TestBoost(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const path, boost = "/v1/tenants/c1/boost", `{"rateLimits":{"commandsPerMinute":500},"for":"2h"}`
	b.do(t, "DELETE", path, "").want(t, 404)
	b.do(t, "POST", path, boost, ifMatch, "*").want(t, 412)
	var made tenant.Config
	r := b.do(t, "POST", path, boost).want(t, 200)
	if r.decode(t, &made); made.Boosts.CommandsPerMinute.Add != 500 || made.Tier != tenant.Free {
		t.Errorf("boosted: %s", r.body)
	}
	got := b.do(t, "GET", "/v1/tenants/c1", "").want(t, 200)
	if got.body != r.body || got.header.Get("ETag") != r.header.Get("ETag") || got.header.Get("ETag") == "" {
		t.Errorf("POST answers %v %s\nGET answers %v %s", r.header, r.body, got.header, got.body)
	}
	if usage := b.do(t, "GET", "/v1/tenants/c1/usage", "").want(t, 200); !strings.Contains(usage.body, `"limit":510,"remaining":510,"boost":{"add":500,"until":"`) {
		t.Errorf("usage %s", usage.body)
	}
	// What GET gives may be put back; a boost can be changed and ended like any other member.
	b.do(t, "PUT", "/v1/tenants/c1", got.body).want(t, 200)
	if r := b.do(t, "PATCH", "/v1/tenants/c1", `{"boosts":{"commandsPerMinute":{"add":7}}}`).want(t, 200); !strings.Contains(r.body, `"add":7,`) {
		t.Errorf("PATCH: %s", r.body)
	}
	b.do(t, "POST", path, boost, ifMatch, got.header.Get("ETag")).want(t, 412)
	b.do(t, "POST", path, boost, ifMatch, "*").want(t, 200)
	b.do(t, "POST", path, boost, ifNoneMatch, "*").want(t, 400)
	if r := b.do(t, "DELETE", path, "", ifMatch, "*").want(t, 200); strings.Contains(r.body, "boosts") {
		t.Errorf("DELETE: %s", r.body)
	}
	b.do(t, "DELETE", path, "").want(t, 404)
	for _, body := range []string{``, `{}`, `{"for":"2h"}`, `{"rateLimits":{"commandsPerMinute":5},"for":"1000h"}`} {
		if p := b.do(t, "POST", path, body).want(t, 400).problem(t); p.Type != "urn:arrakis:problem:malformed" {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if r := b.do(t, "GET", path, "").want(t, 405); r.header.Get("Allow") != "POST, DELETE" {
		t.Errorf("Allow: %s", r.header.Get("Allow"))
	}
}
