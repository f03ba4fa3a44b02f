package lanes

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
)

// stallable is a process whose connection to NATS can be stalled.
func (w *world) stallable() (*process, *testserver.TCPProxy) {
	w.Helper()
	proxy := testserver.Proxy(w, strings.TrimPrefix(w.server.URL(), "nats://"))
	nc := testserver.ConnectNATS(w, "nats://"+proxy.Addr(), nats.MaxReconnects(-1))
	p := w.process()
	p.o.JetStream = testserver.JetStream(w, nc)
	return p, proxy
}

// While a lane closes, messages are kept back. They are for closeTime at most, also if JetStream does not answer.
func TestClosingEndsWithoutJetStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, proxy := w.stallable()
	p.open("big", false)
	var began time.Time
	p.o.Busy = func(Key) bool { // it is asked after Poll has looked, and before the lane closes
		proxy.Stall()
		began = time.Now()
		return false
	}
	var kept time.Duration // 0: the lane was not closing
	p.o.Decided = func(_ *Lane, left bool) {
		if left {
			t.Error("a lane is left that may hold messages")
		}
		kept = time.Since(began)
	}
	const slow = time.Second // closeTime and this are less than a look may take
	later := time.Hour
	testserver.Eventually(t, "messages are kept back for closeTime", func() bool { // or longer, by a busy machine
		kept = 0
		p.after(later)
		proxy.Resume()
		later += longestPause
		return kept > 0 && kept <= closeTime+slow
	})
	p.o.Busy = func(Key) bool { return false }
	p.o.Decided = func(*Lane, bool) {}
	p.leaves("big", later)
}

// A lane that takes long to close, or a server that is slow to answer a Poll, does not keep another from being opened.
func TestLanesAreOpenedWhileOthersAreLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, proxy := w.stallable()
	p.open("first", true)
	p.open("second", false)
	for range DueMessages {
		w.store("first", 0)
	}
	p.leaves("second", time.Hour) // its lane has a consumer, and can be opened for another without JetStream
	proxy.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		p.Poll(ctx, time.Now()) // it waits for JetStream
		for ctx.Err() == nil {
			p.Poll(ctx, time.Now())
		}
	}()
	if err := p.SetDirect(t.Context(), command("first"), false); err != nil {
		t.Fatal(err)
	}
	p.open("third", true)
	select {
	case <-polled:
		t.Error("nothing was looked at meanwhile: the test shows nothing")
	default:
	}
	p.want("first", "overflow.command.first.00")
	p.want("third", "overflow.command.third.01 direct")
	cancel()
	<-polled
	proxy.Resume()
	if got := p.Consumers(); !slices.Contains(got, 1) {
		t.Errorf("lanes to be read: %v", got)
	}
}

// A Poll that has read the markers does not undo what SetDirect has changed since.
func TestPollUndoesNoChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, proxy := w.stallable()
	p.open("big", true)
	const direct = "overflow.command.big.00 direct"
	reads := func() string { // HGETALL: what Poll reads the markers with
		stats, err := p.o.Redis.Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(stats, "cmdstat_hgetall:")
		calls, _, _ := strings.Cut(after, ",")
		return calls
	}
	before := reads()
	proxy.Stall()
	var poll sync.WaitGroup
	poll.Go(func() { p.after(0) }) // it waits for JetStream
	testserver.Eventually(t, "the markers are read", func() bool { return reads() != before })
	p.want("big", direct)
	if err := p.SetDirect(t.Context(), command("big"), false); err != nil {
		t.Fatal(err)
	}
	p.want("big", "overflow.command.big.00")
	proxy.Resume()
	poll.Wait()
	p.want("big", "overflow.command.big.00")
	if _, err := p.Registry.markers.open(t.Context(), command("big"), anyLane, new(true)); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "what others have changed is known", func() bool { p.after(0); return p.lane("big") == direct })
}

// Each try that fails puts the next one off for twice as long, up to a minute.
func TestBackoff(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	var b backoff
	if !b.due(now) {
		t.Error("the first try is not due")
	}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		b.failed(now)
		want *= time.Second
		if b.due(now.Add(want-1)) || !b.due(now.Add(want)) {
			t.Errorf("the next try is not due after %v", want)
		}
		now = now.Add(want)
	}
}
