package idempotency

import (
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// TestProcessDies: the mark of a process that died expires after its lease, and not before.
func TestProcessDies(t *testing.T) {
	m := testserver.Miniredis(t)
	rdb := testserver.ConnectRedis(t, m.Addr())
	s := start(t, rdb, Options{})
	begin(t, start(t, rdb, Options{}), key, first, MayRun) // and is never heard of again; no time passes for miniredis by itself
	m.FastForward(59 * time.Second)
	begin(t, s, key, first, Running)
	m.FastForward(2 * time.Second)
	begin(t, s, key, first, MayRun)
}

// TestDrop: a request that is dropped counts as running until its mark expires, also in its own process.
func TestDrop(t *testing.T) {
	m := testserver.Miniredis(t)
	s := start(t, testserver.ConnectRedis(t, m.Addr()), Options{})
	begin(t, s, key, first, MayRun).Mark.Drop()
	begin(t, s, key, first, Running)
	m.FastForward(time.Minute + time.Second)
	<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
}

// TestRenewed: while a request runs, its mark does not expire.
func TestRenewed(t *testing.T) {
	m := testserver.Miniredis(t)
	rdb := testserver.ConnectRedis(t, m.Addr())
	s, other := start(t, rdb, Options{Lease: time.Second}), start(t, rdb, Options{})
	mark := begin(t, s, key, first, MayRun).Mark
	for range 3 {
		m.FastForward(900 * time.Millisecond)
		testserver.Eventually(t, "the mark is renewed", func() bool { return m.TTL(mark.record) == time.Second })
	}
	begin(t, other, key, first, Running)
	<-mark.Forget(t.Context())
	for _, late := range s.memory.due(time.Now().Add(time.Hour), time.Now()) {
		t.Errorf("%s is renewed, although it has ended", late.record)
	}
	// A renewal that comes too late does not bring the mark back.
	c := newCall(putScript, mark.record, mark.value(), putRenew, 60_000)
	s.put(t.Context(), c)
	<-c.ended
	if m.Exists(mark.record) {
		t.Error("a late renewal has brought a mark back")
	}
	<-begin(t, other, key, first, MayRun).Mark.Forget(t.Context())
}
