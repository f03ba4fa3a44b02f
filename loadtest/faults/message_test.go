package main

import (
	"strings"
	"testing"
)

// Every message of the load has what the audit needs: its event ID says what its handler does, and one that can be over
// its limit or too old waits for its outcome.
func TestMessages(t *testing.T) {
	const total = 20_000
	seen, ids := map[string]int{}, map[string]bool{}
	all := func(i int) *message {
		if i >= total {
			return newFloodMessage(1, (i-total)/burstMessages, i%burstMessages)
		}
		return newMessage(1, i, total)
	}
	for i := range total + 4*burstMessages {
		m := all(i)
		ids[m.ID] = true
		seen[m.behaviour]++
		seen[m.subject]++
		if m.community == patient {
			seen[patient]++
		}
		if floods(m.community) {
			seen[m.community+" "+m.subject]++
			if m.viaHTTP {
				seen["floods over HTTP"]++
			}
		}
		told := m.Replies || m.viaHTTP && !m.async
		limited := strings.HasPrefix(m.community, "tight") || m.community == limitedFlood || m.community == patient
		if (m.kind == command || limited && m.kind != event) && !told {
			t.Fatalf("nobody is told what becomes of %+v", m)
		}
		if !strings.HasSuffix(m.ID, "-"+m.behaviour) || eventID(m.body) != m.ID {
			t.Fatalf("the ID of %+v", m)
		}
		if again := all(i); string(again.body) != string(m.body) || again.viaHTTP != m.viaHTTP {
			t.Fatalf("message %d is drawn twice as %s and %s", i, m.body, again.body)
		}
	}
	if want := total + 4*burstMessages; len(ids) != want {
		t.Errorf("%d messages have %d IDs", want, len(ids))
	}
	for _, what := range []string{
		works, refuses, stumbles, fails, malformed, command.subject, check.subject, syncing.subject, event.subject,
		openFlood + " " + command.subject, openFlood + " " + check.subject, openFlood + " " + event.subject,
		limitedFlood + " " + command.subject, limitedFlood + " " + check.subject, limitedFlood + " " + event.subject,
		"floods over HTTP", patient,
	} {
		if seen[what] < 10 {
			t.Errorf("%d messages are %s", seen[what], what)
		}
	}
}
