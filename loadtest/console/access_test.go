package console

import (
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/worker"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

const adminToken, viewToken, supportToken = "admin-s3cret", "view-s3cret", "support-s3cret"

func withTokens(o *worker.Options) {
	o.AdminTokens, o.ViewTokens = []string{adminToken}, []string{viewToken}
	o.NamedTokens = []auth.NamedToken{{Grant: auth.Grant{Name: "support", Scopes: []auth.Scope{auth.Limits}}, Token: supportToken}}
}

// logIn logs in with a token.
func (b *tab) logIn(token string) {
	b.t.Helper()
	b.fill("input[name=token]", token)
	b.click("button", "Log in")
}

// A page needs a session: log-in leads back to the page that was asked for, a wrong token to nothing, and after log-out
// the page is closed again.
func TestLogIn(t *testing.T) {
	s := newSite(t, withTokens)
	b := newTab(t, s.ops, wide, height)
	b.allow("401")
	b.open("/streams")
	b.eventually("the log-in is shown", `location.pathname === "/login"`)
	b.logIn("wrong")
	b.eventually("it is refused", `!!document.querySelector("[role=alert]")`)
	b.logIn(adminToken)
	b.eventually("the page is shown", `location.pathname === "/streams" && document.readyState === "complete"`)
	b.shows("command-worker")
	if cookie := eval[string](b, "document.cookie"); cookie != "" {
		t.Errorf("a script can read the session: %s", cookie)
	}
	b.click("button", "Log out")
	b.eventually("the log-in is shown", `location.pathname === "/login" && document.readyState === "complete"`)
	b.open("/streams")
	b.eventually("the page is closed", `location.pathname === "/login"`)
}

// A page whose session has ended says so and has a link to the log-in, which leads back. After a log-in in another tab it goes
// on by itself.
func TestSessionEndsUnderAPage(t *testing.T) {
	s := newSite(t, withTokens)
	b := newTab(t, s.ops, narrow, height)
	b.allow("401")
	b.open("/waiting")
	b.logIn(adminToken)
	endSession := func() {
		t.Helper()
		b.eventually("the page is live", `document.getElementById("state")?.textContent === "Live"`)
		eval[bool](b, `fetch("/logout", {method: "POST"}).then(() => true)`)
		b.click("#pause", "")
		b.click("#pause", "")
		b.shows("Logged out")
	}
	endSession()
	if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
		t.Errorf("the page is %d px too wide", over)
	}
	const shown = `document.querySelector(".session form").checkVisibility()`
	if eval[bool](b, shown) {
		t.Error("there is something to log out of")
	}
	b.click(".session a", "Log in")
	b.eventually("the log-in is shown", `location.pathname === "/login" && document.readyState === "complete"`)
	b.logIn(adminToken)
	b.eventually("the page is shown", `location.pathname === "/waiting" && document.readyState === "complete"`)
	endSession()
	eval[bool](b, `fetch("/login", {method: "POST", body: new URLSearchParams({token: `+quote(adminToken)+`, next: "/"})}).then(() => true)`)
	b.eventually("the page is live again", `document.getElementById("state").textContent === "Live" && !document.querySelector(".session a") && `+shown)
}

// A session that may only look shows no controls, and the server refuses what they would do.
func TestViewOnly(t *testing.T) {
	s := newSite(t, withTokens)
	admin := http.Header{"Authorization": {"Bearer " + adminToken}}
	if got := s.send(http.MethodPut, s.ops+"/v1/tenants/comm_1", `{"tier":"free"}`, admin); got != http.StatusOK && got != http.StatusCreated {
		t.Fatal(got)
	}
	b := newTab(t, s.ops, wide, height)
	b.allow("403")
	b.open("/tenants/comm_1")
	b.logIn(viewToken)
	b.eventually("the page is shown", `location.pathname === "/tenants/comm_1" && document.readyState === "complete"`)
	b.shows("View only")
	if n := eval[int](b, `document.querySelectorAll("[data-api], [data-flag], #bulk").length`); n != 0 {
		t.Errorf("%d controls are shown", n)
	}
	for method, path := range map[string]string{
		"PATCH": "/v1/tenants/comm_1", "DELETE": "/v1/tenants/comm_1/usage", "POST": "/v1/tenants/comm_1/boost", "PUT": "/v1/flags/x",
	} {
		status := eval[int](b, `(async () => (await fetch(`+quote(path)+`, {method: `+quote(method)+`, body: "{}", headers: {"Content-Type": "application/json"}})).status)()`)
		if status != http.StatusForbidden {
			t.Errorf("%s %s: %d", method, path, status)
		}
	}
	if got := eval[int](b, `(async () => (await fetch("/v1/tenants/comm_1")).status)()`); got != http.StatusOK {
		t.Errorf("reading: %d", got)
	}
	if got := eval[int](b, `(async () => (await fetch("/debug/pprof/cmdline")).status)()`); got != http.StatusForbidden {
		t.Errorf("pprof: %d", got)
	}
}

// A session with the scope limits has the controls of limits, and they work, whether a config is stored or not. The changes
// name the token.
func TestLimitsOnly(t *testing.T) {
	s := newSite(t, withTokens)
	if _, _, err := s.store().Put(t.Context(), "comm_1", tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b := newTab(t, s.ops, wide, height)
	b.open("/tenants/comm_1")
	b.logIn(supportToken)
	b.eventually("the page is shown", `location.pathname === "/tenants/comm_1" && document.readyState === "complete"`)
	b.shows("Only limits")
	if n := eval[int](b, `document.querySelectorAll("[name=tier], [data-flag], #delete").length`); n != 0 {
		t.Errorf("%d controls of other scopes are shown", n)
	}
	for community, tier := range map[string]tenant.Tier{"comm_1": tenant.Pro, "comm_2": tenant.Free} {
		b.open("/tenants/" + community)
		b.fill(`form[data-api^="PATCH"] input[name="rateLimits.commandsPerMinute"]`, "7")
		b.fill(`select[name="mode"]`, "shadow")
		b.reloads("Saved.", func() { b.click("button", "Save") })
		b.fill(`form[data-api$="/boost"] input[name="rateLimits.commandsPerMinute"]`, "500")
		b.reloads("The boost is in force.", func() { b.click("button", "Boost") })
		b.reloads("The boost has ended.", func() { b.click("button", "End") })
		c, _, err := s.store().Get(t.Context(), community)
		if own := c.RateLimits.CommandsPerMinute; err != nil || c.Tier != tier || own == nil || *own != 7 || c.Mode == nil {
			t.Errorf("%s: %+v, %v", community, c, err)
		}
	}
	b.open("/changes?target=comm_2&since=24h")
	b.shows("console:support")
	if n := eval[int](b, `document.querySelectorAll("tbody tr").length`); n != 3 {
		t.Errorf("%d changes are shown, want 3", n)
	}
}

// What others have written is shown as text: bodies, headers and errors of dead letters, descriptions of flags, what is
// searched for.
func TestHostileTexts(t *testing.T) {
	const attack = `<script>window.hacked=1</script><img src=x onerror="window.hacked=1">"'--></title>`
	s := newSite(t, nil)
	m := &nats.Msg{Subject: "commands.interaction", Data: []byte(attack), Header: nats.Header{"X-Attack": {attack}, "Arrakis-Request-Id": {attack}}}
	if err := s.nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "it is a dead letter", func() bool { return s.deadLetters() == 1 })
	if got := s.send(http.MethodPut, s.ops+"/v1/flags/attack", `{"id":"attack","enabled":true,"description":`+quote(attack)+`}`, nil); got >= 300 {
		t.Fatal(got)
	}
	if err := s.rdb.Set(t.Context(), "tenant:config:comm_1", `{"tier":`+quote(attack)+`}`, 0).Err(); err != nil {
		t.Fatal(err)
	}
	b := newTab(t, s.ops, wide, height)
	b.allow("404")
	for _, path := range []string{
		"/deadletters", "/deadletters/1", "/tenants", "/tenants/comm_1", "/changes", "/",
		"/tenants?q=%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E", "/tenants/%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E",
		"/deadletters?community=%22%3E%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E", "/changes?target=%22%3E%3Cimg%20src%3Dx%3E",
	} {
		b.allow("400")
		b.open(path)
		if eval[bool](b, `window.hacked === 1 || !!document.querySelector("img, script:not([src])")`) {
			t.Errorf("%s: it is not text", path)
		}
	}
	b.open("/deadletters/1")
	b.shows(`<script>window.hacked=1</script>`)
}
