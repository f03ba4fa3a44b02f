package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/view"
)

// tell publishes a heartbeat as a worker does.
func (b *bed) tell(t *testing.T, id, body string) {
	t.Helper()
	if err := b.js.Conn().Publish("internal.worker."+id, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// The fleet is all that workers tell, and nothing that they could do harm with.
func TestFleetIsShown(t *testing.T) {
	b := newBed(t)
	b.tell(t, "w2", `{"id":"w1","beat":2,"state":"ready"}`)
	b.tell(t, "w3", `{"id":"w3","beat":1,"state":"exploded"}`)
	var f view.Fleet
	beat := 0
	testserver.Eventually(t, "the worker is shown, and what JetStream says", func() bool {
		beat++ // it goes on, so that it is not lost
		b.tell(t, "w1", fmt.Sprintf(`{"id":"w1","beat":%d,"host":"h<script>\u0007","state":"ready","rates":{"in":7},"waiting":3,
			"top":[{"community_id":"comm_007","tier":"pro","waiting":3,"running":1,"busy":0.5},{"community_id":"<b>","waiting":9}]}`, beat))
		f = view.Fleet{}
		b.do(t, http.MethodGet, "/v1/fleet", "").want(t, http.StatusOK).decode(t, &f)
		return len(f.Workers) > 0 && len(f.Degraded) == 0
	})
	if len(f.Workers) != 1 {
		t.Fatalf("%d workers are shown, want the one that tells the truth", len(f.Workers))
	}
	if w := f.Workers[0]; w.ID != "w1" || w.Host != "h<script> " || w.State != "ready" || w.Rates.In != 7 {
		t.Errorf("%+v", w)
	}
	if len(f.Waiting) != 1 || f.Waiting[0].Community != "comm_007" || f.Waiting[0].Share != 1 || f.Totals.Workers != 1 || f.Totals.Rates.In != 7 {
		t.Errorf("%+v %+v", f.Waiting, f.Totals)
	}
	if len(f.Streams) == 0 || f.Streams[0].Stream != "COMMANDS" || len(f.Degraded) != 0 {
		t.Errorf("streams %+v, degraded %q", f.Streams, f.Degraded)
	}
	b.do(t, http.MethodHead, "/v1/fleet", "").want(t, http.StatusOK)
	b.do(t, http.MethodPost, "/v1/fleet", "").want(t, http.StatusMethodNotAllowed)
	b.do(t, http.MethodGet, "/v1/fleet?x=1", "").want(t, http.StatusBadRequest)
}

// follow reads the events of /v1/stream until the test ends: their names, and the data of each.
func (b *bed) follow(t *testing.T) (next func() (name, data string), end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/v1/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() }) //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, text)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next = func() (name, data string) {
		t.Helper()
		for lines.Scan() {
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "event":
				name = value
			case "data":
				data = value
			case "":
				if name != "" {
					return name, data
				}
			}
		}
		return "", ""
	}
	return next, cancel
}

// The stream tells the fleet again and again, and each change once. It ends when the process shuts down.
func TestStream(t *testing.T) {
	b := newBed(t)
	b.hub.Changed(view.Change{Type: "feature_flag", Target: "before"})
	next, _ := b.follow(t)
	b.hub.Changed(view.Change{Type: "tenant_config", Target: "comm_007", At: time.Unix(1, 0).UTC(), Source: "test"})
	fleets, changes := 0, 0 // fleets with streams: a slow JetStream is not waited for
	for fleets < 3 || changes < 1 {
		name, data := next()
		switch name {
		case "fleet":
			var f view.Fleet
			if err := json.Unmarshal([]byte(data), &f); err != nil {
				t.Fatalf("%v: %s", err, data)
			}
			if len(f.Streams) > 0 {
				fleets++
			}
		case "change":
			if changes++; data != `{"type":"tenant_config","target_id":"comm_007","at":"1970-01-01T00:00:01Z","source":"test"}` {
				t.Errorf("change %s", data)
			}
		default:
			t.Fatalf("event %q", name)
		}
	}
	if changes != 1 {
		t.Errorf("%d changes, want 1", changes)
	}
	b.stopHub()
	for name, _ := next(); name != ""; name, _ = next() {
	}
	b.do(t, http.MethodGet, "/v1/stream", "").want(t, http.StatusServiceUnavailable)
}

// Streams are bounded, and no other request waits for them.
func TestStreamsAreBounded(t *testing.T) {
	b := newBed(t)
	var ends []func()
	for range live.MaxSubscribers {
		_, end := b.follow(t)
		ends = append(ends, end)
	}
	if r := b.do(t, http.MethodGet, "/v1/stream", "").want(t, http.StatusServiceUnavailable); !strings.Contains(r.body, "too-many-subscribers") || r.header.Get("Retry-After") == "" {
		t.Errorf("%s", r.body)
	}
	b.do(t, http.MethodGet, "/v1/fleet", "").want(t, http.StatusOK)
	b.do(t, http.MethodGet, "/v1/tenants", "").want(t, http.StatusOK)
	b.do(t, http.MethodPost, "/v1/stream", "").want(t, http.StatusMethodNotAllowed)
	for _, end := range ends {
		end()
	}
	testserver.Eventually(t, "there is room again", func() bool {
		s, err := b.hub.Subscribe(t.Context())
		return err == nil && s != nil
	})
}
