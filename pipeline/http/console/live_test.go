package console

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/view"
)

// event is one server-sent event.
type event struct{ name, data string }

// watch opens a stream of live parts. next returns its next event; it fails the test if none comes.
func (b *bed) watch(tb testing.TB, query string, headers ...string) (next func() event) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*testserver.Patience)
	tb.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/live?"+query, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+viewToken)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		tb.Fatalf("%s %v", resp.Status, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func() (e event) {
		tb.Helper()
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				e.name = value
			case name == "data":
				e.data += value
			case name == "" && e.name != "":
				return e
			}
		}
		tb.Fatalf("the stream has ended: %v", lines.Err())
		return event{}
	}
}

// partOf is the name and the HTML of an event part.
func partOf(tb testing.TB, e event) (name, html string) {
	tb.Helper()
	var p struct{ Part, HTML string }
	if err := json.Unmarshal([]byte(e.data), &p); err != nil || e.name != "part" {
		tb.Fatalf("%+v: %v", e, err)
	}
	return p.Part, p.HTML
}

// TestLive: a page gets each of its parts at first, and then only those that have changed.
func TestLive(t *testing.T) {
	b := newBed(t)
	next := b.watch(t, "part=numbers&part=waiting&samples=1")
	if e := next(); e.name != "samples" || !strings.Contains(e.data, `"in":1234.5`) {
		t.Errorf("the samples at first: %+v", e)
	}
	for _, want := range []string{"numbers", "waiting"} {
		name, html := partOf(t, next())
		if name != want || strings.Contains(html, "<img") {
			t.Errorf("%s, want %s: %s", name, want, html)
		}
		// What the stream sends is what the page has.
		if page := b.ask(t, http.MethodGet, map[string]string{"numbers": "/", "waiting": "/waiting"}[want], "").body; !strings.Contains(page, html) {
			t.Errorf("the page has not the same %s: %s", want, page)
		}
	}
	changed := hostileFleet()
	changed.Totals.Rates.In = 77
	b.shows <- changed
	if e := next(); e.name != "sample" || !strings.Contains(e.data, `"in":77`) {
		t.Errorf("a sample: %+v", e)
	}
	if name, html := partOf(t, next()); name != "numbers" || !strings.Contains(html, "<dd>77 <small>") {
		t.Errorf("%s: %s", name, html)
	}
	b.shows <- changed
	if e := next(); e.name != "sample" {
		t.Errorf("without a change only a sample is sent: %+v", e)
	}
}

// A stream ends with its session, though nothing is to be sent. Then the page is told that it needs a new one.
func TestLiveEndsWithItsSession(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for left := 2 * time.Second; ; left *= 2 { // longer on a machine on which it has ended before it was used
		c := b.access.LogIn(httptest.NewRequest(http.MethodPost, b.url+"/login", http.NoBody), viewToken, time.Now().Add(left-12*time.Hour))
		as := []string{"Authorization", "", "Accept", "text/event-stream", "Cookie", c.Name + "=" + c.Value}
		r := b.ask(t, http.MethodGet, "/live?part=numbers", "", as...)
		used := r.status == http.StatusOK && strings.Contains(r.body, "event: part")
		if !used && left < testserver.Patience {
			continue
		}
		if !used {
			t.Errorf("with the session: %d %q", r.status, r.body)
		}
		if r := b.ask(t, http.MethodHead, "/live?part=numbers", "", as...); r.status != http.StatusUnauthorized {
			t.Errorf("after its end: %d", r.status)
		}
		return
	}
}

func TestLiveRefuses(t *testing.T) {
	b := newBed(t)
	for _, query := range []string{"part=none", "part=numbers&part=" + url.QueryEscape(evil), "part=" + url.QueryEscape("numbers?own=1"), strings.Repeat("part=numbers&", maxParts+1)} {
		if r := b.ask(t, http.MethodGet, "/live?"+query, ""); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d", query, r.status)
		}
	}
	if r := b.ask(t, http.MethodGet, "/live?part=numbers", "", "Authorization", "", "Accept", "text/event-stream"); r.status != http.StatusUnauthorized {
		t.Errorf("without a session: %d", r.status)
	}
	for range live.MaxSubscribers {
		b.watch(t, "part=numbers")
	}
	if r := b.ask(t, http.MethodGet, "/live?part=numbers", ""); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("one page more than are kept live: %d %v", r.status, r.header)
	}
	if r := b.ask(t, http.MethodHead, "/live?part=numbers", ""); r.status != http.StatusServiceUnavailable {
		t.Errorf("asked why by the page: %d", r.status)
	}
	if r := b.ask(t, http.MethodGet, "/", ""); r.status != http.StatusOK {
		t.Errorf("the page itself: %d", r.status)
	}
}

// Parts of a snapshot are rendered once, and made into an event once, for all readers: a slow one holds no copy.
func TestPartsAreRenderedOnce(t *testing.T) {
	times := 0
	c := &console{}
	c.assets = newAssets()
	c.parts = map[string]*part{"numbers": {of: func(s *live.Snapshot) any { times++; return numbers(s) }}}
	c.templates = c.parseTemplates()
	for n := range uint64(3) {
		s := &live.Snapshot{Number: n + 1, Fleet: &view.Fleet{}}
		events := map[*byte]bool{}
		for range 5 {
			shown, err := c.renderPart(t.Context(), "numbers", s)
			if err != nil {
				t.Fatal(err)
			}
			events[&shown.Event()[0]] = true
		}
		if len(events) != 1 {
			t.Errorf("%d events of one snapshot", len(events))
		}
	}
	if times != 3 {
		t.Errorf("rendered %d times for 3 snapshots", times)
	}
}

// The samples of five minutes are kept, each once, however many readers there are.
func TestHistory(t *testing.T) {
	var h history
	for n := range uint64(maxSamples + 10) {
		s := &live.Snapshot{Number: n + 1, Fleet: &view.Fleet{}}
		h.add(s)
		h.add(s)
	}
	got := h.add(&live.Snapshot{Number: 1, Fleet: &view.Fleet{}})
	if len(got) != maxSamples || got[0].number != 11 || got[maxSamples-1].number != maxSamples+10 {
		t.Errorf("%d samples, from %d to %d", len(got), got[0].number, got[len(got)-1].number)
	}
}

// A page waits once for a fleet that is not known, and not for each of its parts.
func TestPageWaitsOnceForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &console{fleet: live.New(nil), assets: newAssets()}
		c.parts = c.allParts()
		c.templates = c.parseTemplates()
		f := c.newFrame(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody), "", "")
		start := time.Now()
		for _, name := range []string{"numbers", "workers", "busiest", "letters"} {
			if html, err := f.Live(name); err != nil || !strings.Contains(string(html), "is not known yet") {
				t.Errorf("%s: %s, %v", name, html, err)
			}
		}
		if waited := time.Since(start); waited != firstWait {
			t.Errorf("it waited for %v, want %v", waited, firstWait)
		}
	})
}
