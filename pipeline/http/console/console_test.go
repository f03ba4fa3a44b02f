package console

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"arrakis/pipeline/fleet"
)

// samplePaths are addresses of all pages, with an ID for what is in their patterns.
func samplePaths() []string {
	var paths []string
	for _, p := range (&console{chat: chatStub}).allPages() {
		paths = append(paths, strings.NewReplacer("{$}", "", "{id}", "comm_1", "{seq}", "1").Replace(p.path))
	}
	return paths
}

// TestHostileText: whatever others have chosen is text on every page: it makes no element, no attribute, no link to
// elsewhere, and what cannot be seen is shown.
func TestHostileText(t *testing.T) {
	b := newBed(t)
	value := regexp.MustCompile(`="[^"]*"`)
	inline := regexp.MustCompile(`(?i)<[^>]*\s(on\w+|style|formaction|srcdoc)\s*=`)
	link := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	for _, path := range append(samplePaths(), "/login", "/nothing%3Cscript%3E", "/?q=%3Cscript%3E") {
		r := b.ask(t, http.MethodGet, path, "")
		if strings.Contains(r.body, "<img") || strings.Contains(r.body, "<script>") || inline.MatchString(value.ReplaceAllString(r.body, `=""`)) {
			t.Errorf("%s: text has become HTML: %s", path, r.body)
		}
		for _, m := range link.FindAllStringSubmatch(r.body, -1) {
			if !strings.HasPrefix(m[1], "/") || strings.HasPrefix(m[1], "//") {
				if m[1] != "#main" {
					t.Errorf("%s: a link to %q", path, m[1])
				}
			}
		}
		for line := range strings.SplitSeq(r.body, "\n") {
			if text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(line, ""); strings.ContainsAny(text, "\u202e\x00") {
				t.Errorf("%s: a character that changes the direction of the text: %q", path, text)
			}
		}
	}
	waiting := b.ask(t, http.MethodGet, "/waiting", "").body
	if want := `href="/tenants/` + url.PathEscape(evil) + `"`; !strings.Contains(waiting, strings.ReplaceAll(want, "&", "&amp;")) && !strings.Contains(waiting, "%2F..%2F%3Fx%23y") {
		t.Errorf("the link of a hostile ID leads elsewhere: %s", waiting)
	}
	if !strings.Contains(waiting, `\u202e\u0000/../?x#y</a>`) {
		t.Error("a hostile ID is not shown as it is")
	}
}

// TestHeaders: every answer forbids other sites and inline code.
func TestHeaders(t *testing.T) {
	b := newBed(t)
	for _, path := range append(samplePaths(), "/login", "/nothing", "/live?part=x", "/assets/x/app.js", "/assets/x/none") {
		h := b.ask(t, http.MethodGet, path, "").header
		csp := h.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "font-src 'self'", "form-action 'self'",
			"frame-ancestors 'none'", "base-uri 'none'",
		} {
			if !slices.Contains(strings.Split(csp, "; "), directive) {
				t.Errorf("%s: the policy has no %s: %s", path, directive, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, h)
		}
		if !strings.HasPrefix(path, "/assets/") && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept: %s", path, h.Get("Cache-Control"))
		}
	}
}

// TestPagesAreWhole: each page has the landmarks, one title, and labels for its tables and fields.
func TestPagesAreWhole(t *testing.T) {
	b := newBed(t)
	for _, path := range samplePaths() {
		r := b.ask(t, http.MethodGet, path, "")
		for _, once := range []string{"<h1", "<main ", `<header class="top">`, `<nav class="nav" aria-label=`, `<html lang="en">`, `class="skip"`, "<title>", "</html>", `aria-current="page"`} {
			if n := strings.Count(r.body, once); n != 1 {
				t.Errorf("%s has %d times %s", path, n, once)
			}
		}
		if strings.Contains(r.body, "<table") && !strings.Contains(r.body, `scope="col"`) || strings.Contains(r.body, "<no value>") || strings.Contains(r.body, "0xc0") {
			t.Errorf("%s: %s", path, r.body)
		}
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(r.body, -1) {
			if ids[m[1]] {
				t.Errorf("%s has the id %q twice", path, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range regexp.MustCompile(` aria-labelledby="([^"]*)"`).FindAllStringSubmatch(r.body, -1) {
			if !ids[m[1]] {
				t.Errorf("%s: nothing has the id %q", path, m[1])
			}
		}
	}
}

// TestViewOnly: a session that may only look is shown no control, and is refused whatever it sends.
func TestViewOnly(t *testing.T) {
	b := newBed(t)
	session := b.logIn(t, viewToken, "/").cookie
	if session == nil {
		t.Fatal("no session")
	}
	as := []string{"Authorization", "", "Cookie", session.Name + "=" + session.Value}
	for _, path := range append(samplePaths(), "/live?part=numbers", "/nothing") {
		if strings.HasPrefix(path, "/live") {
			if r := b.ask(t, http.MethodHead, path, "", as...); r.status != http.StatusOK {
				t.Errorf("%s: %d", path, r.status)
			}
		} else if r := b.ask(t, http.MethodGet, path, "", as...); r.status != http.StatusOK && path != "/nothing" || strings.Contains(r.body, "data-api") || !strings.Contains(r.body, "View only") {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
			if r := b.ask(t, method, path, "{}", as...); r.status != http.StatusForbidden || !strings.Contains(r.body, "scope-needed") {
				t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
			}
			if r := b.ask(t, method, path, "{}", "Origin", "https://evil.example"); r.status != http.StatusForbidden || !strings.Contains(r.body, "foreign-origin") {
				t.Errorf("%s %s for another site: %d %s", method, path, r.status, r.body)
			}
			if r := b.ask(t, method, path, "{}"); r.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s as an admin: %d: pages change nothing", method, path, r.status)
			}
		}
	}
}

func TestLogIn(t *testing.T) {
	b := newBed(t)
	if r := b.ask(t, http.MethodGet, "/waiting?x=1", "", "Authorization", ""); r.status != http.StatusSeeOther || r.header.Get("Location") != "/login?next=%2Fwaiting%3Fx%3D1" {
		t.Errorf("without a session: %d %v", r.status, r.header)
	}
	form := b.ask(t, http.MethodGet, "/login?next=%2Fwaiting%3Fx%3D1", "", "Authorization", "")
	if form.status != http.StatusOK || !strings.Contains(form.body, `name="next" value="/waiting?x=1"`) {
		t.Errorf("the form: %d %s", form.status, form.body)
	}
	for token, name := range map[string]string{adminToken: "admin", viewToken: "view", limitsToken: "support"} {
		r := b.logIn(t, token, "/waiting?x=1", "Origin", b.url, "Sec-Fetch-Site", "same-origin")
		c := r.cookie
		if r.status != http.StatusSeeOther || r.header.Get("Location") != "/waiting?x=1" || c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || c.MaxAge != 12*60*60 {
			t.Fatalf("%s: %d %+v", token, r.status, c)
		}
		as := []string{"Authorization", "", "Cookie", c.Name + "=" + c.Value}
		if r := b.ask(t, http.MethodGet, "/waiting", "", as...); r.status != http.StatusOK || strings.Contains(r.body, "View only") != (name == "view") || !strings.Contains(r.body, "by the token "+name+`"`) {
			t.Errorf("%s: %d", token, r.status)
		}
		if r := b.ask(t, http.MethodGet, "/login", "", as...); r.status != http.StatusSeeOther || r.header.Get("Location") != "/" {
			t.Errorf("%s: the log-in with a session: %d", token, r.status)
		}
		out := b.ask(t, http.MethodPost, "/logout", "", as...)
		if out.status != http.StatusSeeOther || out.cookie == nil || out.cookie.MaxAge >= 0 {
			t.Errorf("%s: log-out: %d %+v", token, out.status, out.cookie)
		}
	}
	if r := b.logIn(t, adminToken, "/", "Origin", "https://evil.example"); r.status != http.StatusForbidden || r.cookie != nil {
		t.Errorf("a log-in by another site: %d %v", r.status, r.cookie)
	}
	if r := b.ask(t, http.MethodGet, "/logout", ""); r.status != http.StatusMethodNotAllowed {
		t.Errorf("a link to the log-out: %d", r.status)
	}
}

// TestFailedLogInsAreBounded, also for a right token: one that guesses must not learn that it has guessed right.
func TestFailedLogInsAreBounded(t *testing.T) {
	b := newBed(t)
	failed := 0
	for range 100 {
		r := b.logIn(t, "wrong", "/")
		if r.status == http.StatusTooManyRequests {
			if r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "Too many") {
				t.Errorf("%v %s", r.header, r.body)
			}
			break
		}
		if failed++; r.status != http.StatusUnauthorized || r.cookie != nil || !strings.Contains(r.body, `role="alert"`) || strings.Contains(r.body, "wrong") {
			t.Fatalf("%d %v %s", r.status, r.cookie, r.body)
		}
	}
	if failed < 20 || failed > 40 { // a few more on a slow machine, where time passes
		t.Errorf("%d log-ins failed before one was refused", failed)
	}
	if r := b.logIn(t, adminToken, "/"); r.status != http.StatusTooManyRequests && r.status != http.StatusSeeOther {
		t.Errorf("a right token: %d", r.status)
	}
	if r := b.ask(t, http.MethodGet, "/", ""); r.status != http.StatusOK {
		t.Errorf("a bearer token: %d", r.status)
	}
}

func TestOwnPath(t *testing.T) {
	for next, want := range map[string]string{
		"": "/", "/": "/", "/tenants/a%2Fb?q=1#x": "/tenants/a%2Fb?q=1", "https://evil.example/": "/", "//evil.example/": "/", "/\\evil.example": "/",
		"/\t/evil.example": "/", "javascript:alert(1)": "/", "tenants": "/", "///evil.example": "/", "/login?next=/login": "/", "/%2F/evil.example": "/", "%zz": "/",
		"/%5Cevil.example": "/%5Cevil.example", "/logout": "/", "/x/../logout?a": "/", "/logout/": "/", "/live?part=x": "/", "/logouts": "/logouts",
	} {
		if got := ownPath(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}

// TestFirstView: what a browser loads for the first page is less than 100 kB, uncompressed.
func TestFirstView(t *testing.T) {
	b := newBed(t)
	page := b.ask(t, http.MethodGet, "/", "")
	total, seen := len(page.body), map[string]bool{}
	var load func(path string)
	load = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		r := b.ask(t, http.MethodGet, path, "", "Accept-Encoding", "identity")
		if r.status != http.StatusOK {
			t.Errorf("%s: %d", path, r.status)
		}
		total += len(r.body)
		for _, m := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(r.body, -1) {
			load(path[:strings.LastIndex(path, "/")+1] + m[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(page.body, -1) {
		load(m[1])
	}
	t.Logf("%d bytes in %d files", total, len(seen)+1)
	if total >= 100_000 || len(seen) < 8 {
		t.Errorf("%d bytes in %d files", total, len(seen)+1)
	}
}

func TestAssets(t *testing.T) {
	b := newBed(t)
	path := regexp.MustCompile(`/assets/[0-9a-f]+/app\.css`).FindString(b.ask(t, http.MethodGet, "/", "").body)
	plain := b.ask(t, http.MethodGet, path, "", "Accept-Encoding", "identity", "Authorization", "")
	if plain.status != http.StatusOK || plain.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || plain.header.Get("Content-Type") != "text/css; charset=utf-8" || plain.header.Get("Content-Encoding") != "" {
		t.Errorf("%d %v", plain.status, plain.header)
	}
	zipped := b.ask(t, http.MethodGet, path, "", "Accept-Encoding", "br, gzip")
	if zipped.header.Get("Content-Encoding") != "gzip" || len(zipped.body) >= len(plain.body) || zipped.header.Get("ETag") == plain.header.Get("ETag") || zipped.header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%d bytes, %v", len(zipped.body), zipped.header)
	}
	if r := b.ask(t, http.MethodGet, path, "", "Accept-Encoding", "gzip;q=0", "If-None-Match", plain.header.Get("ETag")); r.status != http.StatusNotModified || r.body != "" {
		t.Errorf("with its ETag: %d", r.status)
	}
	if r := b.ask(t, http.MethodGet, "/assets/0000/app.css", "", "Accept-Encoding", "identity"); r.body != plain.body || r.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("of another version: %d %v", r.status, r.header)
	}
	for _, path := range []string{"/assets/", "/assets/x", "/assets/x/", "/assets/x/none.js", "/assets/x/%2e%2e/doc.go", "/assets/x/vendor"} {
		if r := b.ask(t, http.MethodGet, path, ""); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	for name := range newAssets().files {
		if f := newAssets().files[name]; len(f.plain) == 0 || f.media == "" {
			t.Errorf("%s: %d bytes of %q", name, len(f.plain), f.media)
		}
	}
}

// Nobody answers where the fleet is not known: the pages say so, and their frame works.
func TestFleetNotKnown(t *testing.T) {
	c := &console{}
	c.assets, c.parts = newAssets(), (&console{}).allParts()
	c.pages = c.allPages()
	c.templates = c.parseTemplates()
	for name := range c.parts {
		if c.parts[name].own != nil {
			continue // read from Redis and JetStream
		}
		if shown, err := c.renderPart(t.Context(), name, nil); err != nil || !strings.Contains(string(shown.html), "not known yet") {
			t.Errorf("%s: %+v, %v", name, shown, err)
		}
	}
}

func TestFuncs(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{number(0), "0"},
		{number(-1), "-1"},
		{number(999), "999"},
		{number(uint64(18446744073709551615)), "18,446,744,073,709,551,615"},
		{number(-1234567), "-1,234,567"},
		{rate(0), "0"},
		{rate(0.04), "0.0"},
		{rate(9.94), "9.9"},
		{rate(9.96), "10"},
		{rate(12345.6), "12,346"},
		{rate(-1), "0"},
		{bytesText(0), "0 B"},
		{bytesText(1536), "1.5 KiB"},
		{bytesText(int64(1) << 30), "1 GiB"},
		{bytesText(new(uint64)), "0 B"},
		{bytesText(uint64(1) << 60), "1048576 TiB"},
		{percent(0), "0%"},
		{percent(0.001), "<1%"},
		{percent(0.625), "63%"},
		{percent(1), "100%"},
		{span(0), "0 s"},
		{span(900 * time.Millisecond), "900 ms"},
		{span(61 * time.Second), "1 min"},
		{span(2 * time.Hour), "2 h"},
		{span(2*time.Hour - time.Second), "1 h 59 min"},
		{span(47 * time.Hour), "47 h"},
		{span(49 * time.Hour), "2 d"},
		{visible("ok é 漢 😀"), "ok é 漢 😀"},
		{visible("\x00\u202e\u200b\xff\ufffd"), `\u0000\u202e\u200b\xff\ufffd`},
		{string(joinPath("/tenants", "a/b?c#d..")), "/tenants/a%2Fb%3Fc%23d.."},
		{string(joinPath("/", uint64(7))), "/7"},
		{tone(fleet.Ready), "ok"},
		{tone("x"), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
