package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/worker"
)

// A phone and a wide screen.
const (
	narrow, wide = 360, 1600
	height       = 900
)

// pages are all pages, by the title that the browser shows.
var pages = map[string]string{
	"Overview": "/", "Tenants": "/tenants", "comm_1": "/tenants/comm_1", "Accounts": "/accounts", "acme": "/accounts/acme", "Waiting": "/waiting",
	"Dead letters": "/deadletters", "Streams": "/streams", "Changes": "/changes",
}

// Every page loads without an error and without a violation of its policy, and asks no other host; it fits on a phone
// and on a wide screen, in light and dark; it has landmarks, a heading, and a name for every control; and it is live.
func TestEveryPage(t *testing.T) {
	s := newSite(t, func(o *worker.Options) { o.MaxAttempts = 1 })
	s.put("comm_1", `{"tier":"pro","features":{"customBranding":true}}`)
	if got := s.send(http.MethodPut, s.ops+"/v1/accounts/acme", `{"tier":"pro","counted":"together"}`, nil); got != http.StatusCreated {
		t.Fatalf("store an account: %d", got)
	}
	for range 3 {
		s.command("comm_1", "ping")
	}
	s.command("comm_1", "fail")
	testserver.Eventually(t, "there is a dead letter", func() bool { return s.get("/v1/deadletters/1") == http.StatusOK })
	all := map[string]string{"Dead letter 1": "/deadletters/1"}
	for title, path := range pages {
		all[title] = path
	}
	for _, width := range []int64{narrow, wide} {
		for _, scheme := range []string{"light", "dark"} {
			b := newTab(t, s.ops, width, height)
			b.prefer(scheme)
			for title, path := range all {
				t.Run(fmt.Sprintf("%s at %d, %s", title, width, scheme), func(t *testing.T) { checkPage(t, b, title, path) })
			}
		}
	}
}

// prefer sets the colours that the user prefers.
func (b *tab) prefer(scheme string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
}

// checkPage checks what holds for every page.
func checkPage(t *testing.T, b *tab, title, path string) {
	t.Helper()
	if status := b.open(path); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if got := eval[string](b, "document.title"); !strings.HasPrefix(got, title+" ") {
		t.Errorf("the title is %q", got)
	}
	for what, broken := range map[string]string{
		"a page that is wider than the screen": `document.documentElement.scrollWidth > innerWidth ? document.documentElement.scrollWidth + "" : ""`,
		"no landmark":                          `["header", "nav", "main"].filter(e => !document.querySelector(e)).join()`,
		"not one heading of the first level":   `document.querySelectorAll("h1").length === 1 ? "" : document.querySelectorAll("h1").length + ""`,
		"a control without a name": `[...document.querySelectorAll("button,a,input:not([type=hidden]):not([hidden]),select")]
			.filter(e => e.checkVisibility() && !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.title)).map(e => e.outerHTML).join()`,
		"two landmarks of one name": `(names => names.filter((n, i) => names.indexOf(n) !== i).join())([...document.querySelectorAll("section, nav, [role=region], [role=search]")]
			.map(e => e.localName + " " + (e.ariaLabel ?? document.getElementById(e.getAttribute("aria-labelledby"))?.textContent ?? "")).map(n => n.replace(/^div /, "section ")))`,
		"a table without headings":          `[...document.querySelectorAll("table")].filter(e => !e.querySelector("th[scope=col]")).map(e => e.outerHTML).join()`,
		"an attribute with script or style": `[...document.querySelectorAll("*")].filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).map(e => e.outerHTML).join()`,
		"an ID that is used twice":          `(ids => ids.filter((id, i) => ids.indexOf(id) !== i).join())([...document.querySelectorAll("[id]")].map(e => e.id))`,
	} {
		if found := eval[string](b, broken); found != "" {
			t.Errorf("%s: %s", what, found)
		}
	}
	if eval[bool](b, `!!document.querySelector("[data-live]")`) {
		b.eventually("the page is live", `document.getElementById("state").textContent === "Live"`)
	}
}

// The overview follows what happens, and says what does not work.
func TestOverviewIsLive(t *testing.T) {
	server := testserver.Redis(t)
	s := newSite(t, func(o *worker.Options) { o.Redis = server.Client(t) })
	s.put("comm_1", `{"tier":"enterprise"}`) // its commands are handled for as long as they are sent
	b := newTab(t, s.ops, wide, height)
	b.open("/")
	b.shows("All works as it should.")
	b.eventually("a command is seen", fmt.Sprintf(`fetch(%s) && true`, quote(s.ops+"/healthz")))
	s.load(func() { s.command("comm_1", "ping") }, func() {
		b.eventually("messages are handled", `parseFloat(`+element(".stats div", "Handled")+`.querySelector("dd").textContent) > 0`)
		b.eventually("a chart is drawn", `(c => !!c && c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v > 0))(document.querySelector(".plot canvas"))`)
	})
	server.Kill()
	b.eventually("it says that Redis is away", `/redis/i.test(document.querySelector(".notice.warn")?.textContent ?? "")`)
	server.Start()
	b.shows("All works as it should.")
}

// A page goes on by itself with a worker that has started again.
func TestWorkerRestarts(t *testing.T) {
	s := newSite(t, nil)
	b := newTab(t, s.ops, wide, height)
	b.allow("ERR_CONNECTION_REFUSED")
	b.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")
	b.allow("ERR_CONNECTION_RESET")
	b.allow("ERR_EMPTY_RESPONSE")
	b.allow("503") // it starts
	b.open("/streams")
	b.eventually("the page is live", `document.getElementById("state").textContent === "Live"`)
	s.stop()
	b.eventually("it is not live", `document.getElementById("state").textContent !== "Live"`)
	s.restart()
	b.eventually("the page is live again", `document.getElementById("state").textContent === "Live"`)
	b.shows("command-worker")
}

// A page that is paused does not change, and goes on afterwards.
func TestPause(t *testing.T) {
	s := newSite(t, nil)
	b := newTab(t, s.ops, wide, height)
	b.open("/")
	b.eventually("the page is live", `document.getElementById("state").textContent === "Live"`)
	b.click("#pause", "")
	b.eventually("it says so", `document.getElementById("state").textContent === "Paused" && document.getElementById("pause").ariaPressed === "true"`)
	b.click("#pause", "")
	b.eventually("the page is live", `document.getElementById("state").textContent === "Live"`)
}

// The first thing that the keyboard reaches skips the navigation, and a tenant can be opened with it.
func TestKeyboard(t *testing.T) {
	s := newSite(t, nil)
	s.put("comm_1", `{"tier":"free"}`)
	b := newTab(t, s.ops, wide, height)
	b.open("/tenants")
	b.key("\t")
	b.eventually("the skip link has the focus, and is seen", `document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().top >= 0`)
	b.key("\r")
	b.eventually("the content has the focus", `document.activeElement.id === "main"`)
	for range 20 {
		b.key("\t")
		if eval[bool](b, `document.activeElement.textContent === "comm_1"`) {
			break
		}
	}
	b.key("\r")
	b.eventually("the tenant is shown", `location.pathname === "/tenants/comm_1" && document.readyState === "complete"`)
}
