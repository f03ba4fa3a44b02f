package main

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// visit is the answer to a browser.
type visit struct {
	status int
	header http.Header
	cookie *http.Cookie // the only one that is set, if any
	lines  *bufio.Scanner
}

// browse sends a request as a browser does that has the cookie, if there is one. The answer may go on until the test ends.
func (d *devProcess) browse(t *testing.T, method, path, body string, cookie *http.Cookie) visit {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.ops+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	r.Header.Set("Origin", d.ops)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if cookie != nil {
		r.AddCookie(cookie)
	}
	client := &http.Client{Transport: d.client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	v := visit{status: resp.StatusCode, header: resp.Header, lines: bufio.NewScanner(resp.Body)}
	v.lines.Buffer(nil, 1<<20)
	if cookies := resp.Cookies(); len(cookies) == 1 {
		v.cookie = cookies[0]
	}
	return v
}

// session logs in with a token.
func (d *devProcess) session(t *testing.T, token string) *http.Cookie {
	t.Helper()
	v := d.browse(t, http.MethodPost, "/login", url.Values{"token": {token}, "next": {"/"}}.Encode(), nil)
	if v.cookie == nil {
		t.Fatalf("log-in: %d", v.status)
	}
	return v.cookie
}

// TestConsole on a whole process: one logs in to see the pages, a session that may only look changes nothing, the pages
// move, and end with the process.
func TestConsole(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--admin-token=admin-token", "--view-token=view-token")
	if !strings.Contains(d.stdout.String(), "console     "+d.ops+"/\n") {
		t.Errorf("the banner does not name the console: %s", d.stdout.String())
	}
	if v := d.browse(t, http.MethodGet, "/", "", nil); v.status != http.StatusSeeOther || v.header.Get("Location") != "/login" {
		t.Errorf("without a session: %d %v", v.status, v.header)
	}
	admin, view := d.session(t, "admin-token"), d.session(t, "view-token")
	for _, path := range []string{"/", "/tenants", "/tenants/comm_000", "/waiting", "/streams", "/changes", "/v1/tenants", "/v1/tenants/comm_000/usage", "/v1/fleet"} {
		for _, cookie := range []*http.Cookie{admin, view} {
			if v := d.browse(t, http.MethodGet, path, "", cookie); v.status != http.StatusOK {
				t.Errorf("GET %s: %d", path, v.status)
			}
		}
	}
	for _, request := range adminRequests(t) {
		method, path, _ := strings.Cut(request, " ")
		if method == http.MethodGet || method == http.MethodHead {
			continue
		}
		if v := d.browse(t, method, path, "{}", view); v.status != http.StatusForbidden {
			t.Errorf("%s with a session that may only look: %d", request, v.status)
		}
	}
	if v := d.browse(t, http.MethodGet, "/debug/pprof/cmdline", "", view); v.status != http.StatusForbidden {
		t.Errorf("pprof with a session that may only look: %d", v.status)
	}
	if v := d.browse(t, http.MethodDelete, "/v1/tenants/comm_000/usage", "", admin); v.status != http.StatusOK {
		t.Errorf("a reset by an admin: %d", v.status)
	}

	stream := d.browse(t, http.MethodGet, "/live?part=workers", "", view).lines
	moved := 0
	for stream.Scan() && moved < 2 { // the age of a heartbeat changes
		if strings.HasPrefix(stream.Text(), "data: ") && strings.Contains(stream.Text(), "ready") {
			moved++
		}
	}
	if moved < 2 {
		t.Errorf("the page has moved %d times: %v", moved, stream.Err())
	}
	d.stop()
	testserver.Eventually(t, "the process ends while a page is open", func() bool { return !stream.Scan() })
	d.exit(t)
}
