package main

import (
	"strings"
	"testing"
)

// Every message of the load has what the audit needs: its event ID says what its handler does, and one that can be over
// its limit or too old waits for its outcome.
func TestMessages(t *testing.T) {
	const total = 20_000
	seen := map[string]int{}
	for i := range total {
		m := newMessage(1, i, total)
		seen[m.behaviour]++
		seen[m.subject]++
		told := m.Replies || m.viaHTTP && !m.async
		if (m.kind == command || strings.HasPrefix(m.community, "tight") && m.kind != event) && !told {
			t.Fatalf("nobody is told what becomes of %+v", m)
		}
		if !strings.HasSuffix(m.ID, "-"+m.behaviour) || eventID(m.body) != m.ID {
			t.Fatalf("the ID of %+v", m)
		}
		if again := newMessage(1, i, total); string(again.body) != string(m.body) || again.viaHTTP != m.viaHTTP {
			t.Fatalf("message %d is drawn twice as %s and %s", i, m.body, again.body)
		}
	}
	for _, what := range []string{works, refuses, stumbles, fails, malformed, command.subject, check.subject, syncing.subject, event.subject} {
		if seen[what] < 10 {
			t.Errorf("%d messages are %s", seen[what], what)
		}
	}
}
