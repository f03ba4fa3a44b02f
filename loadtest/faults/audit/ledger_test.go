package audit_test

import (
	"slices"
	"testing"

	"arrakis/loadtest/faults/audit"
)

// stored is a ledger with acknowledged messages.
func stored(ids ...string) *audit.Ledger {
	l := audit.NewLedger()
	for _, id := range ids {
		l.Publish(audit.Message{ID: id, Stream: "COMMANDS", Replies: true})
		l.Acknowledge(id)
	}
	return l
}

// A message of which nothing is known after its publish was acknowledged is lost, and the audit names it.
func TestLostMessageIsFound(t *testing.T) {
	l := stored("a", "b", "c")
	l.Begin("a", 0)
	l.End("a", audit.Handled)
	l.Begin("b", 0) // a handler that has not answered is no ending
	l.Begin("b", 0)
	l.Answer("c", "rate_limited", 429)
	r := l.Result()
	if !slices.Equal(r.Lost, []string{"b"}) || r.Endings[audit.Lost] != 1 {
		t.Errorf("lost %v, %d; want b alone", r.Lost, r.Endings[audit.Lost])
	}
}

// Every way to end is seen, and counts once.
func TestEndings(t *testing.T) {
	type note func(*audit.Ledger, string)
	handle := func(how audit.Ending) note {
		return func(l *audit.Ledger, id string) { l.Begin(id, 0); l.End(id, how) }
	}
	answer := func(status string, code int) note {
		return func(l *audit.Ledger, id string) { l.Answer(id, status, code) }
	}
	bury := func(reason string) note { return func(l *audit.Ledger, id string) { l.DeadLetter(id, reason) } }
	for _, c := range []struct {
		name  string
		notes []note
		want  audit.Ending
	}{
		{"handled", []note{handle(audit.Handled)}, audit.Handled},
		{"refused", []note{handle(audit.Refused)}, audit.Refused},
		{"limited", []note{answer("rate_limited", 429)}, audit.Limited},
		{"expired", []note{answer("expired", 410)}, audit.Expired},
		{"refused while Redis is away", []note{answer("error", 503)}, audit.Unavailable},
		{"dead letter", []note{bury("attempts_exhausted")}, audit.DeadLettered},
		{"dead letter, of which the sender is told", []note{bury("attempts_exhausted"), answer("error", 500)}, audit.DeadLettered},
		{"told of a failure", []note{answer("error", 502)}, audit.Failed},
		{"told of a refusal without a run", []note{answer("error", 403)}, audit.Lost},
		{"told of success without a run", []note{answer("ok", 0)}, audit.Lost},
		{"still stored", []note{(*audit.Ledger).StillStored}, audit.Unfinished},
		{"handled and then expired", []note{handle(audit.Handled), answer("expired", 410)}, audit.Handled},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := stored("a")
			for _, note := range c.notes {
				note(l, "a")
			}
			r := l.Result()
			for e, n := range r.Endings {
				if want := audit.Ending(e) == c.want; (n == 1) != want || n > 1 {
					t.Errorf("%d ended %v, want it to end %v", n, audit.Ending(e), c.want)
				}
			}
		})
	}
}

func TestUnacknowledgedMessageHasNoEnding(t *testing.T) {
	l := audit.NewLedger()
	l.Publish(audit.Message{ID: "a"})
	if r := l.Result(); r.Acknowledged != 0 || len(r.Lost) != 0 || r.Published != 1 {
		t.Errorf("got %+v", r)
	}
}

// What arrakis has counted as dropped is not lost, but no more than it has counted, and only from that stream.
func TestDroppedIsNotLost(t *testing.T) {
	l := stored("a", "b", "c")
	l.Publish(audit.Message{ID: "e", Stream: "EVENTS"})
	l.Acknowledge("e")
	l.Drop("COMMANDS", 2)
	r := l.Result()
	if r.Endings[audit.Dropped] != 2 || !slices.Equal(r.Lost, []string{"c", "e"}) {
		t.Errorf("%d dropped, %v lost; want 2, and c and e", r.Endings[audit.Dropped], r.Lost)
	}
}

// A run counts as a repeat once the message has been handled; before that it is another try.
func TestRepeats(t *testing.T) {
	l := stored("a")
	l.Begin("a", 0)
	l.Begin("a", 0)
	l.End("a", audit.Handled)
	l.Begin("a", 0)
	l.End("a", audit.Handled)
	if r := l.Result(); r.Repeated != 1 || r.Retried != 1 || r.TwoEndings != 0 {
		t.Errorf("%d repeats, %d tries, %d of two endings; want 1, 1, 0", r.Repeated, r.Retried, r.TwoEndings)
	}
}

// An answer that a worker has sent and nobody has got is told apart.
func TestUntold(t *testing.T) {
	l := stored("a", "b")
	for _, id := range []string{"a", "b"} {
		l.Answer(id, "rate_limited", 429)
	}
	l.Tell("a", "rate_limited", 429)
	if r := l.Result(); r.Untold != 1 || r.Endings[audit.Limited] != 2 {
		t.Errorf("%d untold of %d limited, want 1 of 2", r.Untold, r.Endings[audit.Limited])
	}
}

// A message that kills its workers must end as worker_killed, and no other message may. Nor may one that is sound be
// called malformed, or without a handler, or be a dead letter because its handler has refused it.
func TestDeadLettersHaveACause(t *testing.T) {
	l := stored("bystander", "fine", "refused", "sound", "unasked")
	for _, id := range []string{"killer", "spared", "exhausted"} {
		l.Publish(audit.Message{ID: id, Reason: "worker_killed"})
		l.Acknowledge(id)
		l.Begin(id, 0)
	}
	l.DeadLetter("killer", "worker_killed")
	l.DeadLetter("exhausted", "attempts_exhausted")
	l.DeadLetter("bystander", "worker_killed")
	l.DeadLetter("fine", "attempts_exhausted")
	l.End("refused", audit.Refused)
	l.DeadLetter("refused", "handler_error")
	l.DeadLetter("sound", "malformed")
	l.DeadLetter("unasked", "no_handler")
	want := []string{
		"bystander gives no cause for its dead letter worker_killed",
		"exhausted must be a dead letter worker_killed, and is one of attempts_exhausted",
		"refused gives no cause for its dead letter handler_error",
		"sound gives no cause for its dead letter malformed",
		"spared must be a dead letter worker_killed, and is lost",
		"unasked gives no cause for its dead letter no_handler",
	}
	if r := l.Result(); !slices.Equal(r.Wrong, want) {
		t.Errorf("got %q, want %q", r.Wrong, want)
	}
}
