package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// bound sets the bytes that a stream may have.
func (b *bundle) bound(stream string, bytes int64) {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxBytes = bytes
	if _, err := b.js.UpdateStream(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
}

// bytes is how many bytes a stream has.
func (b *bundle) bytes(stream string) int64 {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	return int64(s.CachedInfo().State.Bytes)
}

// I4: a community that floods without end fills no more than half of OVERFLOW and half of RETRY. Another one in a lane is
// served at once, and senders of the flood are told 503. Nothing of the flood is lost: all of it is handled in the end.
func TestInvariantOneCommunityFillsHalf(t *testing.T) {
	t.Parallel()
	const bound, n = 8 << 20, 4_000 // of 4 KiB
	f := newFlooded(t)
	f.adjust = func(p *Pipeline) { p.laneKeeper.writer.fullDelay = time.Second }
	f.ensure()
	f.bound(contract.StreamOverflow, bound)
	f.bound(contract.StreamRetry, bound)
	f.openLane("big")
	f.openLane("quiet")
	f.start()
	large := func(id string) []byte {
		return fmt.Appendf(nil, `{"event_id":%q,"event_type":"interaction.create","guild_id":"big","data":{"command_name":"work","options":{"x":%q}}}`,
			id, strings.Repeat("x", 4_000))
	}
	for i := range n {
		if _, err := f.js.PublishAsync("commands.interaction", large(strconv.Itoa(i)), patient); err != nil {
			t.Fatal(err)
		}
	}
	<-f.js.PublishAsyncComplete()
	testserver.Eventually(t, "the flood has its parts, and what could not be stored comes again and again", func() bool {
		return f.bytes(contract.StreamOverflow) > bound*4/10 && f.bytes(contract.StreamRetry) > bound*3/10 &&
			f.counted("arrakis_retries_total", "way", "nak") > n
	})
	for range 20 {
		if got := f.bytes(contract.StreamOverflow); got > bound*55/100 {
			t.Fatalf("OVERFLOW has %d bytes, want half of %d", got, bound)
		}
		if got := f.bytes(contract.StreamRetry); got > bound/2 {
			t.Fatalf("RETRY has %d bytes, want half of %d", got, bound)
		}
		sub := f.publish("commands.interaction", command("quiet", "work", fmt.Sprint("quiet-", time.Now().UnixNano())))
		if o := f.outcome(sub); o.Status != contract.StatusOK {
			t.Fatalf("beside the flood, in a lane: %+v", o)
		}
	}
	testserver.Eventually(t, "a sender of the flood is told", func() bool { // one may still find room
		msg, err := f.publish("commands.interaction", large(fmt.Sprint("waits-", time.Now().UnixNano()))).NextMsg(time.Second)
		var o contract.Outcome
		return err == nil && json.Unmarshal(msg.Data, &o) == nil && o.Error != nil && o.Error.Code == 503 && o.Error.RetryAfterMS > 0
	})
	f.open()
	testserver.Eventually(t, "all of the flood is handled", func() bool { return f.count() >= n+20 })
	testserver.Eventually(t, "nothing is left", func() bool {
		return f.stored(contract.StreamCommands)+f.stored(contract.StreamOverflow)+f.stored(contract.StreamRetry) == 0
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		if times := f.handled[strconv.Itoa(i)]; times != 1 {
			t.Errorf("message %d was handled %d times", i, times)
		}
	}
}

// The delay before a message that its lane has no room for is tried again grows, up to a bound.
func TestBackoffOfAFullLane(t *testing.T) {
	t.Parallel()
	w := &laneWriter{fullDelay: fullDelay}
	for _, test := range []struct {
		before, delivered uint64
		least             time.Duration
	}{{0, 1, 10 * time.Second}, {1, 1, 20 * time.Second}, {2, 1, 40 * time.Second}, {1, 2, 40 * time.Second}, {9, 1, maxFullDelays * fullDelay}, {1 << 40, 1, maxFullDelays * fullDelay}} {
		d := &delivery{before: test.before, position: position{delivered: test.delivered}}
		for range 100 {
			if got := w.backoff(d); got < test.least || got > test.least*3/2 {
				t.Fatalf("%+v: %v", test, got)
			}
		}
	}
}
