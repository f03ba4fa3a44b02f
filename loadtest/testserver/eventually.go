package testserver

import (
	"testing"
	"time"
)

// Patience is how long a test waits for anything: far more than a loaded
// machine needs under the race detector, and waited for in full only by a test
// that fails.
const Patience = time.Minute

// Eventually waits until ok returns true, for Patience at most. What is the
// condition, for the message: "the key expires".
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	if !poll(ok) {
		tb.Fatalf("not within %v: %s", Patience, what)
	}
}

// Succeeds waits until try returns nil, for Patience at most. The message says
// with which error it failed last.
func Succeeds(tb testing.TB, what string, try func() error) {
	tb.Helper()
	var last error
	if !poll(func() bool { last = try(); return last == nil }) {
		tb.Fatalf("not within %v: %s: %v", Patience, what, last)
	}
}

// poll reports whether ok has returned true within Patience. It looks once more
// at the end: a machine that stood still may have had no time for a look.
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
