package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everySecond is a watch that looks each second. looks counts how many look at the same time, and all is how often one has
// begun.
func everySecond(looks, all *atomic.Int32) func(context.Context, func(*view.Fleet)) {
	return func(ctx context.Context, each func(*view.Fleet)) {
		looks.Add(1)
		defer looks.Add(-1)
		all.Add(1)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			each(&view.Fleet{At: time.Now()})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
}

// A hub looks once for all subscribers, only while there is one and a minute longer, and never waits for a slow one.
func TestHubLooksOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks, all atomic.Int32
		h := New(everySecond(&looks, &all))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); h.Run(ctx) }()
		synctest.Wait()
		if all.Load() != 0 {
			t.Fatal("it looks, and nobody wants it")
		}
		reading, leave := context.WithCancel(t.Context())
		slow, err := h.Subscribe(reading)
		if err != nil {
			t.Fatal(err)
		}
		fast, err := h.Subscribe(reading)
		if err != nil {
			t.Fatal(err)
		}
		for want := uint64(1); want <= 10; want++ {
			s := <-fast
			if s.Number != want || s.Fleet == nil {
				t.Fatalf("snapshot %d, want %d", s.Number, want)
			}
		}
		synctest.Wait() // until each has the tenth
		if s := <-slow; s.Number != 10 {
			t.Errorf("a slow subscriber gets snapshot %d, want the newest, 10", s.Number)
		}
		if looks.Load() != 1 || all.Load() != 1 {
			t.Errorf("%d looks at once, %d in all", looks.Load(), all.Load())
		}
		leave()
		synctest.Wait()
		if _, ok := <-fast; ok {
			t.Error("the channel is open after its context has ended")
		}
		time.Sleep(linger - 2*time.Second) //nolint:forbidigo // in a bubble
		if looks.Load() != 1 {
			t.Error("it does not look on for a minute")
		}
		if s, err := h.Latest(t.Context()); err != nil || s.Number < 60 {
			t.Errorf("latest: %+v, %v", s, err)
		}
		time.Sleep(linger + 2*time.Second) //nolint:forbidigo // in a bubble
		if looks.Load() != 0 {
			t.Error("it looks, and nobody has wanted it for more than a minute")
		}
		if s, err := h.Latest(t.Context()); err != nil || time.Since(s.Fleet.At) > time.Second || all.Load() != 2 {
			t.Errorf("an old snapshot: %+v, %v", s, err)
		}
		last, err := h.Subscribe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stop()
		<-done
		<-last
		if _, ok := <-last; ok {
			t.Error("a channel is open after Run")
		}
		if _, err := h.Subscribe(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("subscribe after Run: %v", err)
		}
		if _, err := h.Latest(t.Context()); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("latest after Run: %v", err)
		}
	})
}

// Subscribers are bounded, and one that leaves makes room.
func TestHubIsBounded(t *testing.T) {
	h := New(nil)
	first, leave := context.WithCancel(t.Context())
	if _, err := h.Subscribe(first); err != nil {
		t.Fatal(err)
	}
	for range MaxSubscribers - 1 {
		if _, err := h.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Subscribe(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	leave()
	testserver.Succeeds(t, "room again", func() error { _, err := h.Subscribe(t.Context()); return err })
}

// A subscriber that skips snapshots misses no change, unless there are too many.
func TestChangesAreTold(t *testing.T) {
	h := New(nil)
	for i := range MaxChanges + 7 {
		h.Changed(view.Change{Target: fmt.Sprint(i)})
	}
	h.publish(&view.Fleet{})
	s := h.last
	if len(s.Changes) != MaxChanges || s.LastChange() != MaxChanges+7 || s.Changes[0].Target != "7" {
		t.Errorf("%d changes, the last one %d", len(s.Changes), s.LastChange())
	}
	if c := s.ChangesAfter(MaxChanges + 5); len(c) != 2 || c[0].Target != fmt.Sprint(MaxChanges+5) {
		t.Errorf("after: %v", c)
	}
	if c := s.ChangesAfter(s.LastChange()); len(c) != 0 {
		t.Errorf("after the last: %v", c)
	}
	h.Changed(view.Change{})
	if s.LastChange() != MaxChanges+7 {
		t.Error("a snapshot has changed")
	}
}

// timeouts are those of the server: short, but enough for a request on a slow machine.
const timeouts = 2 * time.Second

// connect serves stream on a server with time-outs, and returns its answer line by line.
func connect(session context.Context, t *testing.T, interval time.Duration, stream func(context.Context, *Writer) error) (header http.Header, lines *bufio.Scanner, leave func()) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(session, cancel)()
		r = r.WithContext(ctx)
		serve(w, r, interval, stream)
	}))
	s.Config.ReadTimeout, s.Config.WriteTimeout = timeouts, timeouts
	s.Start()
	t.Cleanup(s.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })                                       //nolint:errcheck // only read
	return resp.Header, bufio.NewScanner(resp.Body), func() { resp.Body.Close() } //nolint:errcheck // only read
}

// Events are as the standard wants them, and outlive the time-outs of the server, which end the answers of others.
func TestServeOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	h, lines, _ := connect(t.Context(), t, time.Hour, func(ctx context.Context, w *Writer) error {
		if err := w.Event("part", []byte("<p>\r\na\n\nb\rc")); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(timeouts + timeouts/2):
		}
		return w.Event("end", nil)
	})
	if h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	var got strings.Builder
	for lines.Scan() {
		got.WriteString(lines.Text() + "\n")
	}
	const want = "retry: 2000\n\nevent: part\ndata: <p>\ndata: a\ndata: \ndata: b\ndata: c\n\nevent: end\ndata: \n\n"
	if got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
}

// A stream ends with its session, though nothing is written; comments come in between.
func TestServeEndsWithItsSession(t *testing.T) {
	session, end := context.WithCancel(t.Context())
	_, lines, _ := connect(session, t, 5*time.Millisecond, func(ctx context.Context, _ *Writer) error {
		<-ctx.Done()
		return nil
	})
	for comments := 0; comments < 3; {
		if !lines.Scan() {
			t.Fatal("ended early")
		}
		if lines.Text() == ":" {
			comments++
		}
	}
	end()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the answer is cut: %v", err)
	}
}

// A client that is gone ends the context of its stream.
func TestServeEndsWithItsClient(t *testing.T) {
	ended := make(chan struct{})
	_, _, leave := connect(t.Context(), t, time.Hour, func(ctx context.Context, _ *Writer) error {
		<-ctx.Done()
		close(ended)
		return nil
	})
	leave()
	<-ended
}

// GET /v1/stream sends the document that GET /v1/fleet answers.
func TestStreamSendsTheFleetDocument(t *testing.T) {
	f := view.NewFleet(&fleet.State{
		At: time.Now(), Streams: []streams.Status{{Stream: "COMMANDS"}, {Stream: "EVENTS", Exists: true, Changes: []streams.Change{{}}}},
		Lanes:   []lanes.Status{{}},
		Workers: []fleet.Worker{{Heartbeat: &fleet.Heartbeat{ID: "w", Host: "<h>", State: fleet.Ready}}},
	})
	want, err := json.Marshal(f, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	s := &Snapshot{Fleet: f}
	got := s.FleetEvent()
	if string(got) != "event: fleet\ndata: "+string(want)+"\n\n" {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if again := s.FleetEvent(); &again[0] != &got[0] {
		t.Error("each reader gets a copy of its own")
	}
}
