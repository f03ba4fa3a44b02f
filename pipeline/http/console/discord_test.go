package console

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// chatStub answers what a chat would, with the path.
var chatStub http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "chat "+r.URL.Path) })

// Who may look may look at the chat; to say something there, one must be an admin, and on a page of this site.
func TestChat(t *testing.T) {
	b := newBed(t)
	page := b.ask(t, http.MethodGet, "/discord", "")
	if page.status != http.StatusOK || !strings.Contains(page.body, `<a href="/discord" aria-current="page">Discord</a>`) ||
		!strings.Contains(page.body, `id="composer"`) || !strings.Contains(page.body, "/discord.css") {
		t.Errorf("%d: %s", page.status, page.body)
	}
	for _, tt := range []struct {
		method, token, origin string
		status                int
	}{
		{http.MethodGet, viewToken, "", http.StatusOK},
		{http.MethodGet, "", "", http.StatusSeeOther}, // to the log-in, because it asks for a page
		{http.MethodPost, adminToken, "", http.StatusOK},
		{http.MethodPost, viewToken, "", http.StatusForbidden},
		{http.MethodPost, "", "", http.StatusUnauthorized},
		{http.MethodPost, adminToken, "https://evil.example", http.StatusForbidden},
	} {
		authorization := ""
		if tt.token != "" {
			authorization = "Bearer " + tt.token
		}
		r := b.ask(t, tt.method, "/discord/x", "", "Authorization", authorization, "Origin", tt.origin)
		if r.status != tt.status || (r.status == http.StatusOK) != (r.body == "chat /discord/x") {
			t.Errorf("%s with %q from %q: %d %s", tt.method, tt.token, tt.origin, r.status, r.body)
		}
	}
	if r := b.ask(t, http.MethodGet, "/discord", "", "Authorization", "Bearer "+viewToken); r.status != http.StatusOK || strings.Contains(r.body, "composer") {
		t.Errorf("who may look can write: %d %s", r.status, r.body)
	}
}

func TestNoChat(t *testing.T) {
	c := &console{}
	if slices.ContainsFunc(c.allPages(), func(p page) bool { return p.path == chatPath }) || len(c.navigation()) != len(navigation) {
		t.Error("there is a page of a chat that is not there")
	}
}
