package ingress

import (
	"testing"
	"time"
)

// While a stream was full, the log had two lines for each message that another stream took.
func TestStoringIsLoggedOnce(t *testing.T) {
	var s storing
	at := time.Unix(1_000, 0)
	if s.succeed(at) {
		t.Error("stored again, although nothing has failed")
	}
	begun, ended := 0, 0
	for range 100 {
		at = at.Add(calm - 1)
		if s.fail(at) {
			begun++
		}
		if s.succeed(at) {
			ended++
		}
	}
	if begun != 1 || ended != 0 {
		t.Errorf("logged %d times that messages are not stored, and %d times that they are again; want 1 and 0", begun, ended)
	}
	if s.succeed(at.Add(calm-1)) || !s.succeed(at.Add(calm)) || s.succeed(at.Add(2*calm)) {
		t.Error("the end is not logged once, after a calm")
	}
	if !s.fail(at.Add(3 * calm)) {
		t.Error("the next failure is not logged")
	}
}
