package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
)

// audited is an entry as a client reads it.
type audited struct {
	ID, At, Type, Target, Actor, From, Source string
	RequestID                                 string `json:"request_id"`
	Before, After                             map[string]any
}

// audit reads a page of the audit log.
func (b *bed) audit(tb testing.TB, query string) (entries []audited, next string) {
	tb.Helper()
	var page struct {
		Entries []audited
		Next    string
	}
	b.do(tb, http.MethodGet, "/v1/audit"+query, "").want(tb, http.StatusOK).decode(tb, &page)
	return page.Entries, page.Next
}

// Each change by the API makes one entry, that names the client and never its token. A request that changes nothing
// makes none.
func TestAuditOfRequests(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	letter := nats.NewMsg("deadletter.COMMANDS.panic")
	letter.Header.Set(contract.HeaderSubject, "commands.interaction")
	letter.Header.Set(contract.HeaderStream, "COMMANDS")
	letter.Header.Set(contract.HeaderReason, "panic")
	letter.Data = []byte(`{"interaction_token":"` + token + `"}`)
	if _, err := b.js.PublishMsg(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	want := 0
	for i, tt := range []struct {
		method, path, body string
		status             int
		entry              string // type and target; "" for none
	}{
		{http.MethodPut, "/v1/tenants/a", `{"tier":"pro"}`, http.StatusCreated, "tenant a"},
		{http.MethodPatch, "/v1/tenants/a", `{"tier":"free"}`, http.StatusOK, "tenant a"},
		{http.MethodPatch, "/v1/tenants/a", `{"tier":"gold"}`, http.StatusBadRequest, ""},
		{http.MethodDelete, "/v1/tenants/a", "", http.StatusNoContent, "tenant a"},
		{http.MethodDelete, "/v1/tenants/a", "", http.StatusNotFound, ""},
		{http.MethodPut, "/v1/flags/f", `{"enabled":true}`, http.StatusCreated, "flag f"},
		{http.MethodDelete, "/v1/flags/f", "", http.StatusNoContent, "flag f"},
		{http.MethodDelete, "/v1/tenants/a/usage", "", http.StatusOK, "reset a"},
		{http.MethodDelete, "/v1/tenants/a/usage/command", "", http.StatusOK, "reset a"},
		{http.MethodPost, "/v1/reload", "", http.StatusOK, "reload "},
		{http.MethodPost, "/v1/reload?community=a", "", http.StatusOK, "reload a"},
		{http.MethodPost, "/v1/deadletters/1/replay", "", http.StatusOK, "replay 1"},
		{http.MethodPost, "/v1/deadletters/1/replay", "", http.StatusNotFound, ""},
		{http.MethodGet, "/v1/tenants/a/usage", "", http.StatusOK, ""},
		{http.MethodGet, "/v1/tenants?q=a", "", http.StatusOK, ""},
		{http.MethodGet, "/v1/audit", "", http.StatusOK, ""},
	} {
		what := tt.method + " " + tt.path
		id := fmt.Sprint("request-", i)
		if r := b.do(t, tt.method, tt.path, tt.body, "X-Request-Id", id).want(t, tt.status); r.header.Get("X-Request-Id") != id {
			t.Errorf("%s: the answer is of request %q", what, r.header.Get("X-Request-Id"))
		}
		if tt.entry != "" {
			want++
		}
		entries, _ := b.audit(t, "")
		if len(entries) != want {
			t.Fatalf("%s: %d entries, want %d: %+v", what, len(entries), want, entries)
		}
		if e := entries[0]; tt.entry != "" && (e.Type+" "+e.Target != tt.entry || e.Actor != "api:admin" || e.From != "127.0.0.1" || e.RequestID != id || e.Source != "test") {
			t.Errorf("%s: %+v, want %s", what, e, tt.entry)
		}
		if logged := b.log.Count("request_id=" + id + "\n"); (logged == 1) != (tt.entry != "") {
			t.Errorf("%s: %d lines in the log have its ID", what, logged)
		}
	}
	if r := b.do(t, http.MethodGet, "/v1/audit", ""); strings.Contains(r.body, token) {
		t.Errorf("the audit log has the token, or the body of a message: %s", r.body)
	}
	b.do(t, http.MethodPost, "/v1/reload", "", "Sec-Fetch-Site", "same-origin").want(t, http.StatusOK)
	if entries, _ := b.audit(t, ""); entries[0].Actor != "console:admin" {
		t.Errorf("a change by a page is made by %s", entries[0].Actor)
	}
	r := b.do(t, http.MethodPost, "/v1/reload", "", "X-Request-Id", "not one").want(t, http.StatusOK)
	if entries, _ := b.audit(t, ""); len(entries[0].RequestID) != 36 || r.header.Get("X-Request-Id") != entries[0].RequestID {
		t.Errorf("a made-up ID is %q, and %q in the answer", entries[0].RequestID, r.header.Get("X-Request-Id"))
	}
	entries, _ := b.audit(t, "?target=a&type=tenant")
	if len(entries) != 3 || entries[0].After != nil || entries[1].Before["tier"] != "pro" || entries[1].After["tier"] != "free" || entries[2].Before != nil {
		t.Errorf("the changes of a: %+v", entries)
	}
}

// The pages of the audit log have all entries, and wrong questions are told apart.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const changes = 7
	for i := range changes {
		if err := b.store.NotifyReload(t.Context(), fmt.Sprint("c", i)); err != nil {
			t.Fatal(err)
		}
	}
	var targets []string
	for next := ""; ; {
		var entries []audited
		entries, next = b.audit(t, "?limit=2&cursor="+url.QueryEscape(next))
		for _, e := range entries {
			targets = append(targets, e.Target)
		}
		if next == "" {
			break
		}
	}
	if got := strings.Join(targets, " "); got != "c6 c5 c4 c3 c2 c1 c0" {
		t.Errorf("the entries are of %s", got)
	}
	for query, want := range map[string]int{"since=1h": changes, "since=1d&limit=1000": changes, "since=0s": 0} {
		if entries, _ := b.audit(t, "?"+query); len(entries) != want {
			t.Errorf("%s: %d entries, want %d", query, len(entries), want)
		}
	}
	for query, field := range map[string]string{"cursor=x": "cursor", "type=x": "type", "since=x": "since", "limit=0": "limit", "community=a": "community", "target=%00": "target", "target=%ff": "target"} {
		if p := b.do(t, http.MethodGet, "/v1/audit?"+query, "").want(t, http.StatusBadRequest).problem(t); p.Field != field {
			t.Errorf("%s: %+v", query, p)
		}
	}
}

// Tenants are found by a part of their ID, in order, page by page.
func TestSearchTenants(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 30 {
		b.mini.Set(fmt.Sprintf("tenant:config:comm_%02d", i), `{"tier":"pro"}`) //nolint:errcheck // it is a string
	}
	b.mini.Set("tenant:config:other", `{"tier":"gold"}`) //nolint:errcheck // it is a string
	var ids []string
	for next := ""; ; {
		var page struct {
			Tenants []struct{ ID, ETag, Tier, Error string }
			Matches int
			Next    string
		}
		r := b.do(t, http.MethodGet, "/v1/tenants?limit=4&q=COMM_1&cursor="+next, "").want(t, http.StatusOK)
		r.decode(t, &page)
		if page.Matches != 10 || strings.Contains(r.header.Get("Link"), "q=COMM_1") != (page.Next != "") {
			t.Errorf("%d match, Link %q", page.Matches, r.header.Get("Link"))
		}
		for _, found := range page.Tenants {
			if ids = append(ids, found.ID); found.Tier != "pro" || found.ETag == "" {
				t.Errorf("%+v", found)
			}
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if got := strings.Join(ids, " "); got != "comm_10 comm_11 comm_12 comm_13 comm_14 comm_15 comm_16 comm_17 comm_18 comm_19" {
		t.Errorf("found %s", got)
	}
	if r := b.do(t, http.MethodGet, "/v1/tenants?q=other", "").want(t, http.StatusOK); !strings.Contains(r.body, `"error"`) {
		t.Errorf("a document that cannot be used: %s", r.body)
	}
	for query, field := range map[string]string{
		"q=a&cursor=!": "cursor", "q=a&cursor=" + strings.Repeat("A", 2000): "cursor", "q=" + strings.Repeat("a", 129): "q", "q=a&q=b": "q",
	} {
		if p := b.do(t, http.MethodGet, "/v1/tenants?"+query, "").want(t, http.StatusBadRequest).problem(t); p.Field != field {
			t.Errorf("%.40s: %+v", query, p)
		}
	}
}
