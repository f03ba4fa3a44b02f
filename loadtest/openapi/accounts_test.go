package openapi

import (
	"strings"
	"testing"
)

// Answers about accounts are as the document says, good and bad.
func TestAccounts(t *testing.T) {
	s := newSite(t, nil)
	do := func(method, path, body string, status int, header ...string) string {
		t.Helper()
		_, answer := s.ask(request{method: method, path: path, body: body, status: status, header: header})
		return answer
	}
	const path = "/v1/accounts/acme"
	do("GET", path, "", 404)
	do("DELETE", path, "", 404)
	for i, body := range []string{
		`{"tier":"pro"}`,
		`{"name":"Acme Inc.","tier":"enterprise","counted":"each","features":{"customBranding":true},"rateLimits":{"commandsPerMinute":-1,"userCommandsPerMinute":7},
		  "onLimit":{"command":"delay"},"maxDelayed":10000,"mode":"shadow","weight":100}`,
		`{"tier":"pro","counted":"together","onLimit":"delay"}`,
	} {
		do("PUT", path, body, map[bool]int{true: 201, false: 200}[i == 0])
		do("PUT", path, do("GET", path, "", 200), 200)
	}
	for _, body := range []string{
		`{}`, `{"tier":"gold"}`, `{"tier":"pro","counted":"both"}`, `{"tier":"pro","name":"` + strings.Repeat("x", 101) + `"}`, `{"tier":"pro","more":1}`,
		`{"tier":"pro","rateLimits":{"commandsPerMinute":-2}}`, `{"tier":"pro","maxDelayed":0}`, `{"tier":"pro","weight":101}`, `{"tier":"pro","mode":"off"}`,
		`{"tier":"pro","boosts":{}}`, `{"tier":"pro","onLimit":"drop"}`, `[]`,
	} {
		do("PUT", path, body, 400)
	}
	do("PUT", "/v1/accounts/a.b", `{"tier":"pro"}`, 400)
	for _, body := range []string{`{}`, `{"name":"A","counted":null,"features":{"prioritySupport":null},"rateLimits":null,"onLimit":null,"weight":null}`, `{"counted":"together"}`} {
		do("PATCH", path, body, 200, "Content-Type", "application/merge-patch+json")
		do("PATCH", path, body, 200)
	}
	for _, body := range []string{`{"counted":"both"}`, `{"more":1}`, `{"tier":null}`} {
		do("PATCH", path, body, 400)
	}
	do("PUT", path, `{"tier":"pro"}`, 412, "If-None-Match", "*")
	do("PATCH", path, `{}`, 412, "If-Match", `"another"`)
	do("DELETE", path, "", 412, "If-Match", `"another"`)
	do("PUT", path, `{"tier":"pro"}`, 415, "Content-Type", "text/plain")
	do("PUT", "/v1/accounts/other", `{"tier":"free"}`, 201)
	do("GET", "/v1/accounts?limit=1", "", 200)
	do("GET", "/v1/accounts?limit=0", "", 400)

	// Its communities.
	s.ask(request{method: "PATCH", path: "/v1/tenants/comm_1", body: `{"account":"nobody"}`, status: 400, disagrees: true}) // said in words
	for _, id := range []string{"comm_1", "comm_2"} {
		do("PATCH", "/v1/tenants/"+id, `{"account":"acme"}`, 200)
	}
	do("GET", "/v1/tenants/comm_1/usage", "", 200)
	if explained := do("GET", "/v1/tenants/comm_1/explain?command=ping", "", 200); !strings.Contains(explained, `"account":{"id":"acme","name":"A","counted":"together"}`) {
		t.Errorf("explain: %s", explained)
	}
	do("DELETE", "/v1/tenants/comm_1/usage", "", 200)
	do("GET", "/v1/accounts/acme/communities?limit=1", "", 200)
	do("GET", "/v1/accounts/acme/communities", "", 200)
	do("GET", "/v1/accounts/acme/communities?limit=0", "", 400)
	do("DELETE", path, "", 409)
	do("DELETE", path+"?force=maybe", "", 400)
	do("DELETE", path+"?force=true", "", 204)
	do("GET", "/v1/tenants/comm_1/explain", "", 200)
	do("GET", "/v1/tenants/comm_1/usage", "", 200)
	do("GET", "/v1/audit?type=account", "", 200)

	if err := s.rdb.Set(t.Context(), "account:config:bad", "{", 0).Err(); err != nil {
		t.Fatal(err)
	}
	do("GET", "/v1/accounts/bad", "", 500)
	do("PATCH", "/v1/accounts/bad", `{}`, 500)
	do("GET", "/v1/accounts", "", 200)
	do("DELETE", path, "", 401, "Authorization", "")
	s.notSeen("accounts",
		"403", "408", "413", // TestOperations
		"PUT /v1/accounts/{id} 409", "PATCH /v1/accounts/{id} 409", // writers that meet
		"503", // TestAway
	)
}
