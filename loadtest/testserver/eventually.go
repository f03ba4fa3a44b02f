package testserver

import (
	"testing"
	"time"
)

// Patience is how long a test waits for a condition. It is far more than a loaded machine needs under the race
// detector. Only a test that fails waits that long.
const Patience = time.Minute

// Eventually waits until ok returns true, for Patience at most. what describes the condition in the message, for
// example "the key expires".
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	if !poll(ok) {
		tb.Fatalf("not within %v: %s", Patience, what)
	}
}

// Succeeds waits until try returns nil, for Patience at most. The message has the last error of try.
func Succeeds(tb testing.TB, what string, try func() error) {
	tb.Helper()
	var last error
	if !poll(func() bool { last = try(); return last == nil }) {
		tb.Fatalf("not within %v: %s: %v", Patience, what, last)
	}
}

// poll reports whether ok has returned true within Patience. It calls ok once more at the end, because a machine that
// stood still may have had no time for a call.
func poll(ok func() bool) bool {
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return ok()
		}
	}
	return true
}
