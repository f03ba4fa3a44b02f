package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"arrakis/loadtest/testserver"
)

// browser is the one browser of all tests. Each tab has its own profile, so that tests share no cookies.
var browser context.Context

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Flag("lang", "en"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium has no sandbox for root
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	defer end()
	var stop context.CancelFunc
	// The browser is newer than the protocol that the library knows; what it cannot read is not used here.
	browser, stop = chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) //nolint:fatcontext // once
	defer stop()
	if err := chromedp.Do(browser); err != nil {
		fmt.Fprintln(os.Stderr, "start chromium:", err, "(apt-get install chromium)")
		return 1
	}
	return testserver.M{M: m}.Run()
}

// tab is one tab of the browser on one console. At the end of the test it fails the test if the page has logged an
// error, violated its policy (CSP), or asked any other host.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // chromedp's handle of the tab
	base string          // URL of the console, without a slash at the end

	mu      sync.Mutex // protects the fields below
	faults  []string
	allowed []string // parts of faults that the test expects
}

// watchPolicy makes the page log each violation of its Content-Security-Policy, also of those that Chromium reports to
// nobody.
const watchPolicy = `addEventListener("securitypolicyviolation", e => console.error("CSP: " + e.violatedDirective + " " + e.blockedURI))`

func newTab(t *testing.T, base string, width, height int64) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil { // opens the tab, which lives as long as the context of this call
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*testserver.Patience)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, base: base}
	b.do(chromedp.EmulateViewport(width, height))
	if err := chromedp.Listen(ctx, b.see); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchPolicy}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, f := range b.faults {
			if !slices.ContainsFunc(b.allowed, func(part string) bool { return strings.Contains(f, part) }) {
				t.Errorf("the page is at fault: %s", f)
			}
		}
	})
	return b
}

// allow says that the page may have faults that contain the text, such as the status of a request that is to be
// refused.
func (b *tab) allow(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, part)
}

// see is called for every event of the tab, in its order.
func (b *tab) see(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, arg := range e.Args {
				fault += " " + string(arg.Value) + arg.Description
			}
		}
	case *runtime.EventExceptionThrown:
		fault = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			fault = e.Entry.Text + " " + e.Entry.URL
		}
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, b.base+"/") && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "about:") {
			fault = "asks " + u
		}
	}
	if fault != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, fault)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// open opens a page of the console and returns its HTTP status.
func (b *tab) open(path string) int {
	b.t.Helper()
	r, err := chromedp.Run(b.ctx, chromedp.NavigateResponse(b.base+path))
	if err != nil {
		b.t.Fatalf("open %s: %v", path, err)
	}
	return int(r.Status)
}

// eval returns the value of a JavaScript expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// eventually waits until the expression is true. Between two pages there may be no document to ask.
func (b *tab) eventually(what, expression string) {
	b.t.Helper()
	testserver.Succeeds(b.t, what, func() error {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && !ok {
			err = errors.New("not so")
		}
		if err != nil {
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the poll need not be faster, and the browser has work to do
		}
		return err
	})
}

// shows waits until the page shows the text.
func (b *tab) shows(text string) {
	b.t.Helper()
	b.eventually("the page shows "+text, "document.body.innerText.includes("+quote(text)+")")
}

// element is the JavaScript expression of the first element that a CSS selector finds and, if text is not "", that shows
// the text.
func element(selector, text string) string {
	return fmt.Sprintf("[...document.querySelectorAll(%s)].find(e => %s === '' || e.textContent.includes(%s))", quote(selector), quote(text), quote(text))
}

// click clicks the first element that the selector finds and that shows the text, once it is there, visible and enabled.
func (b *tab) click(selector, text string) {
	b.t.Helper()
	e := element(selector, text)
	b.eventually("there is "+selector+" "+text, "(e => !!e && e.checkVisibility() && !e.disabled)("+e+")")
	eval[bool](b, "("+e+".click(), true)")
}

// reloads waits until what do does has made the browser load a page, which shows the text. The page before may show it too.
func (b *tab) reloads(text string, do func()) {
	b.t.Helper()
	eval[bool](b, "window.before = true")
	do()
	b.eventually("a page is loaded that shows "+text, `!window.before && document.readyState === "complete" && document.body.innerText.includes(`+quote(text)+")")
}

// fill types a value into a field, as a person does.
func (b *tab) fill(selector, value string) {
	b.t.Helper()
	b.eventually("there is "+selector, "!!document.querySelector("+quote(selector)+")")
	eval[bool](b, fmt.Sprintf(`(e => { e.focus(); e.value = %s; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); return true })(document.querySelector(%s))`,
		quote(value), quote(selector)))
}

// key presses a key.
func (b *tab) key(key string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
}

// quote makes a JavaScript string.
func quote(s string) string {
	q, _ := json.Marshal(s) // cannot fail for a string
	return string(q)
}
