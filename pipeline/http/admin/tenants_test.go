package admin

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

const ifMatch, ifNoneMatch = "If-Match", "If-None-Match"

func TestTenant(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const path = "/v1/tenants/g1"
	if r := b.do(t, "GET", path, "").want(t, 404); !strings.Contains(r.body, "free tier") {
		t.Errorf("what to do is not said: %s", r.body)
	}
	// A guild of a community that has another name.
	made := b.do(t, "PUT", path, `{"communityId":"c1","tier":"pro","rateLimits":{"commandsPerMinute":7}}`).want(t, 201)
	got := b.do(t, "GET", path, "").want(t, 200)
	if got.body != made.body || got.header.Get("ETag") != made.header.Get("ETag") || got.header.Get("ETag") == "" {
		t.Errorf("PUT answers %v %s\nGET answers %v %s", made.header, made.body, got.header, got.body)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", got.header)
	}
	var c tenant.Config
	got.decode(t, &c)
	if c.CommunityID != "c1" || c.Tier != tenant.Pro || *c.RateLimits.CommandsPerMinute != 7 || c.CreatedAt.IsZero() {
		t.Errorf("config %s", got.body)
	}
	head := b.do(t, "HEAD", path, "").want(t, 200)
	if head.body != "" || head.header.Get("ETag") != got.header.Get("ETag") || head.header.Get("Content-Length") != fmt.Sprint(len(got.body)) {
		t.Errorf("HEAD: %v %s", head.header, head.body)
	}

	// What GET gives may be put back, and PUT replaces: overrides go.
	b.do(t, "PUT", path, got.body).want(t, 200)
	b.do(t, "PUT", path, `{"tier":"pro"}`).want(t, 200)
	if r := b.do(t, "GET", path, ""); strings.Contains(r.body, "commandsPerMinute") || !strings.Contains(r.body, `"communityId":"g1"`) {
		t.Errorf("after a PUT without them: %s", r.body)
	}

	del := b.do(t, "DELETE", path, "").want(t, 204)
	if del.body != "" || del.header.Get("Cache-Control") != "no-store" {
		t.Errorf("DELETE: %v %s", del.header, del.body)
	}
	b.do(t, "GET", path, "").want(t, 404)
	b.do(t, "DELETE", path, "").want(t, 404)
}

func TestPatchIsAMergePatch(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const path = "/v1/tenants/c1"
	for _, tt := range []struct{ patch, want string }{
		{`{"rateLimits":{"commandsPerMinute":7,"syncRequestsPerDay":2}}`, `"tier":"free","features":{},"rateLimits":{"commandsPerMinute":7,"syncRequestsPerDay":2}`},
		{`{"tier":"pro"}`, `"tier":"pro","features":{},"rateLimits":{"commandsPerMinute":7,"syncRequestsPerDay":2}`},
		{`{"rateLimits":{"commandsPerMinute":null},"features":{"prioritySupport":true}}`, `"tier":"pro","features":{"prioritySupport":true},"rateLimits":{"syncRequestsPerDay":2}`},
		{`{}`, `"tier":"pro","features":{"prioritySupport":true},"rateLimits":{"syncRequestsPerDay":2}`},
		{`{"onLimit":"delay","maxDelayed":5}`, `"rateLimits":{"syncRequestsPerDay":2},"onLimit":"delay","maxDelayed":5`},
		{`{"onLimit":{"command":null},"maxDelayed":null}`, `"rateLimits":{"syncRequestsPerDay":2},"onLimit":{"eligibility_check":"delay","sync_request":"delay"},"createdAt"`},
		{`{"mode":"shadow"}`, `"sync_request":"delay"},"mode":"shadow","createdAt"`},
		{`{"mode":null}`, `"sync_request":"delay"},"createdAt"`},
		{`{"weight":7}`, `"sync_request":"delay"},"weight":7,"createdAt"`},
		{`{"weight":null}`, `"sync_request":"delay"},"createdAt"`},
		{`{"onLimit":null}`, `"rateLimits":{"syncRequestsPerDay":2},"createdAt"`},
		{`{"tier":"enterprise","rateLimits":null,"features":null}`, `"tier":"enterprise","features":{},"rateLimits":{}`},
	} {
		r := b.do(t, "PATCH", path, tt.patch, "Content-Type", patchType).want(t, 200)
		if !strings.Contains(r.body, tt.want) || r.header.Get("ETag") == "" {
			t.Errorf("%s gives %s, want %s", tt.patch, r.body, tt.want)
		}
	}
}

// TestPreconditions: what they demand, against what is stored.
func TestPreconditions(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, path := range []string{"/v1/tenants/there", "/v1/accounts/there", "/v1/flags/there"} {
		b.do(t, "PUT", path, documents[path[:9]]).want(t, 201)
	}
	stale := `"0123456789abcdef0123456789abcdef"`
	for _, tt := range []struct {
		name, header, value string
		absent, there       int // status of a PUT
	}{
		{"none", "X", "", 201, 200},
		{"current", ifMatch, "current", 412, 200},
		{"stale", ifMatch, stale, 412, 412},
		{"any", ifMatch, "*", 412, 200},
		{"create only", ifNoneMatch, "*", 201, 412},
		{"unquoted", ifMatch, "abc", 400, 400},
		{"weak", ifMatch, `W/"abc"`, 400, 400},
		{"several", ifMatch, `"a", "b"`, 400, 400},
		{"empty", ifMatch, `""`, 400, 400},
		{"none of one", ifNoneMatch, stale, 400, 400},
	} {
		for _, kind := range []string{"/v1/tenants/", "/v1/accounts/", "/v1/flags/"} {
			for id, want := range map[string]int{"absent": tt.absent, "there": tt.there} {
				value, body := tt.value, documents[kind[:9]]
				if value == "current" {
					value = b.do(t, "GET", kind+"there", "").header.Get("ETag")
				}
				r := b.do(t, "PUT", kind+id, body, tt.header, value)
				if r.status != want {
					t.Errorf("%s: PUT %s%s: %d, want %d: %s", tt.name, kind, id, r.status, want, r.body)
				}
				if r.status >= 400 && want == 400 && r.problem(t).Field != tt.header {
					t.Errorf("%s: field %q", tt.name, r.problem(t).Field)
				}
			}
			if tt.absent == 201 {
				b.do(t, "DELETE", kind+"absent", "").want(t, 204)
			}
		}
	}

	// PATCH knows If-Match; what nobody keeps is refused, not passed over.
	for _, kind := range []string{"/v1/tenants/", "/v1/accounts/"} {
		etag := b.do(t, "GET", kind+"there", "").header.Get("ETag")
		b.do(t, "PATCH", kind+"there", `{"tier":"pro"}`, ifMatch, stale).want(t, 412)
		b.do(t, "PATCH", kind+"there", `{"tier":"pro"}`, ifMatch, etag).want(t, 200)
		b.do(t, "PATCH", kind+"there", `{"tier":"free"}`, ifMatch, etag).want(t, 412)
		b.do(t, "PATCH", kind+"there", `{"tier":"free"}`, ifMatch, "*").want(t, 200)
		b.do(t, "PATCH", kind+"absent", `{"tier":"free"}`, ifMatch, "*").want(t, 412)
		b.do(t, "PATCH", kind+"there", `{"tear":"free"}`, ifMatch, "*").want(t, 400)
		b.do(t, "PATCH", kind+"there", `{}`, ifNoneMatch, "*").want(t, 400)
	}
}

// TestDeleteIfMatch: a DELETE takes away only what its client has read.
func TestDeleteIfMatch(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, kind := range []string{"/v1/tenants/", "/v1/accounts/", "/v1/flags/"} {
		path, absent := kind+"there", kind+"absent"
		old := b.do(t, "PUT", path, documents[kind[:9]]).want(t, 201).header.Get("ETag")
		etag := b.do(t, "PUT", path, otherDocuments[kind[:9]]).want(t, 200).header.Get("ETag")
		for _, refused := range []struct {
			path, header, value string
			status              int
		}{
			{path, ifMatch, old, 412},
			{absent, ifMatch, etag, 412},
			{absent, ifMatch, "*", 412},
			{absent, "X", "", 404},
			{path, ifMatch, "abc", 400},
			{path, ifNoneMatch, "*", 400},
		} {
			r := b.do(t, "DELETE", refused.path, "", refused.header, refused.value)
			if r.status != refused.status || r.status == 400 && r.problem(t).Field != refused.header {
				t.Errorf("DELETE %s with %s %s: %d, want %d: %s", refused.path, refused.header, refused.value, r.status, refused.status, r.body)
			}
		}
		b.do(t, "GET", path, "").want(t, 200)
		b.do(t, "DELETE", path, "", ifMatch, etag).want(t, 204)
		b.do(t, "DELETE", path, "", ifMatch, etag).want(t, 412)
		b.do(t, "PUT", path, documents[kind[:9]]).want(t, 201)
		b.do(t, "DELETE", path, "", ifMatch, "*").want(t, 204)
		b.do(t, "GET", path, "").want(t, 404)
	}
}

// otherDocuments are other bodies for the paths of documents.
var otherDocuments = map[string]string{"/v1/tenan": `{"tier":"free"}`, "/v1/accou": `{"tier":"free"}`, "/v1/flags": `{"enabled":false}`}

// documents are good bodies of a PUT, by the beginning of their path.
var documents = map[string]string{"/v1/tenan": `{"tier":"pro"}`, "/v1/accou": `{"tier":"pro"}`, "/v1/flags": `{"enabled":true}`}

// TestWritersAtOnce: 8 writers patch one member each, again and again; none of them is lost.
func TestWritersAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	members := []string{
		`"features":{"customBranding":%v}`, `"features":{"advancedAnalytics":%v}`, `"features":{"prioritySupport":%v}`,
		`"features":{"unlimitedCommands":%v}`, `"rateLimits":{"commandsPerMinute":%d}`, `"rateLimits":{"eligibilityChecksPerHour":%d}`,
		`"rateLimits":{"syncRequestsPerDay":%d}`, `"rateLimits":{"userCommandsPerMinute":%d}`,
	}
	var wg sync.WaitGroup
	for i, member := range members {
		wg.Go(func() {
			for n := range 10 {
				var value any = n
				if i < 4 {
					value = n%2 == 1
				}
				if r := b.do(t, "PATCH", "/v1/tenants/c1", "{"+fmt.Sprintf(member, value)+"}"); r.status != http.StatusOK {
					t.Errorf("status %d: %s", r.status, r.body)
				}
			}
		})
	}
	wg.Wait()
	want := `"features":{"customBranding":true,"advancedAnalytics":true,"prioritySupport":true,"unlimitedCommands":true},` +
		`"rateLimits":{"commandsPerMinute":9,"eligibilityChecksPerHour":9,"syncRequestsPerDay":9,"userCommandsPerMinute":9}`
	if r := b.do(t, "GET", "/v1/tenants/c1", ""); !strings.Contains(r.body, want) {
		t.Errorf("%s\nwant %s", r.body, want)
	}
}

// TestCountByIfMatch: 8 writers add one by reading and writing what they have read; with ETags every one of them
// counts.
func TestCountByIfMatch(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.do(t, "PUT", "/v1/tenants/c1", `{"tier":"pro","rateLimits":{"commandsPerMinute":0}}`).want(t, 201)
	var wg sync.WaitGroup
	for i := range 8 {
		method := []string{"PUT", "PATCH"}[i%2]
		wg.Go(func() {
			for added := 0; added < 5 && !t.Failed(); {
				r := b.do(t, "GET", "/v1/tenants/c1", "")
				var c struct {
					RateLimits struct{ CommandsPerMinute int }
				}
				r.decode(t, &c)
				body := fmt.Sprintf(`{"tier":"pro","rateLimits":{"commandsPerMinute":%d}}`, c.RateLimits.CommandsPerMinute+1)
				switch w := b.do(t, method, "/v1/tenants/c1", body, ifMatch, r.header.Get("ETag")); w.status {
				case http.StatusOK:
					added++
				case http.StatusPreconditionFailed:
				default:
					t.Errorf("status %d: %s", w.status, w.body)
				}
			}
		})
	}
	wg.Wait()
	if r := b.do(t, "GET", "/v1/tenants/c1", ""); !strings.Contains(r.body, `"commandsPerMinute":40`) {
		t.Errorf("%s, want 40", r.body)
	}
}

// tenantPage is what tests read of a list of tenants.
type tenantPage struct {
	Tenants []struct{ ID, ETag, Tier, CommunityID, Error string }
	Next    string
}

func TestListOf500(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	want := map[string]bool{}
	for i := range 500 {
		id := fmt.Sprintf("comm:%03d", i)
		want[id] = true
		if _, _, err := b.store.Put(t.Context(), id, tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	pages := 0
	for next := "/v1/tenants?limit=70"; next != ""; pages++ {
		r := b.do(t, "GET", next, "").want(t, 200)
		var page tenantPage
		r.decode(t, &page)
		if len(page.Tenants) > 70 || pages > 100 {
			t.Fatalf("page %d has %d tenants", pages, len(page.Tenants))
		}
		for _, e := range page.Tenants {
			got[e.ID] = true
			if e.Tier != "pro" || e.CommunityID != e.ID || !strings.HasPrefix(e.ETag, `"`) {
				t.Errorf("entry %+v", e)
			}
		}
		link, ok := strings.CutSuffix(r.header.Get("Link"), `>; rel="next"`)
		if ok != (page.Next != "") {
			t.Errorf("next %q, Link %q", page.Next, r.header.Get("Link"))
		}
		next = strings.TrimPrefix(link, "<")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var page tenantPage
	b.do(t, "GET", "/v1/tenants", "").want(t, 200).decode(t, &page)
	if len(page.Tenants) != 100 || page.Next == "" {
		t.Errorf("%d tenants by default, next %q", len(page.Tenants), page.Next)
	}
	// An entry's etag is what If-Match takes.
	e := page.Tenants[0]
	b.do(t, "PATCH", "/v1/tenants/"+e.ID, `{"tier":"free"}`, ifMatch, e.ETag).want(t, 200)
}

// TestForeignMembers: other writers' members are not shown, so that what GET gives can be put back, and are kept.
func TestForeignMembers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const document = `{"tier":"pro","features":{"zeal":1},"rateLimits":{"x":2},"billing":{"plan":"p"}}`
	if err := b.redis.Set(t.Context(), "tenant:config:c1", document, 0).Err(); err != nil {
		t.Fatal(err)
	}
	r := b.do(t, "GET", "/v1/tenants/c1", "").want(t, 200)
	b.do(t, "PUT", "/v1/tenants/c1", r.body, ifMatch, r.header.Get("ETag")).want(t, 200)
	b.do(t, "PATCH", "/v1/tenants/c1", `{"features":null,"rateLimits":null}`, ifMatch, "*").want(t, 200)
	stored, err := b.redis.Get(t.Context(), "tenant:config:c1").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{`"zeal":1`, `"x":2`, `"billing":{"plan":"p"}`} {
		if !strings.Contains(stored, kept) || strings.Contains(r.body, kept) {
			t.Errorf("%s: shown %s, stored %s", kept, r.body, stored)
		}
	}
	list := b.do(t, "GET", "/v1/tenants", "").want(t, 200)
	if strings.Contains(list.body, "billing") {
		t.Errorf("list: %s", list.body)
	}
}

// TestUnusableDocument: what is in Redis and cannot be used is shown as such, and repaired by replacing it.
func TestUnusableDocument(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if err := b.redis.Set(t.Context(), "tenant:config:c1", `{"tier":"gold"}`, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.redis.HSet(t.Context(), "arrakis:flags", "f1", `{`).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.redis.Set(t.Context(), "account:config:acme", `{`, 0).Err(); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{"/v1/tenants": `{"tier":"pro"}`, "/v1/accounts": `{"tier":"pro"}`, "/v1/flags": `{"enabled":true}`} {
		id := map[string]string{"/v1/tenants": "/c1", "/v1/accounts": "/acme", "/v1/flags": "/f1"}[path]
		if p := b.do(t, "GET", path+id, "").want(t, 500).problem(t); p.Type != "urn:arrakis:problem:unusable-document" {
			t.Errorf("%+v", p)
		}
		if r := b.do(t, "GET", path, "").want(t, 200); !strings.Contains(r.body, `"error":"the document in Redis at`) || strings.Contains(r.body, "communityId") {
			t.Errorf("list: %s", r.body)
		}
		if path != "/v1/flags" {
			b.do(t, "PATCH", path+id, body).want(t, 500)
			b.do(t, "PATCH", path+id, body, ifMatch, "*").want(t, 500)
		}
		b.do(t, "PUT", path+id, body, ifMatch, "*").want(t, 200)
		b.do(t, "GET", path+id, "").want(t, 200)
	}
}
