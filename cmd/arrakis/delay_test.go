package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// TestDevDelays: a tenant that delays keeps what is over its limit and nobody waits for, as much as it may, and usage
// shows it. Who waits for a shorter time is rejected.
func TestDevDelays(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	r := arrakis(t, d.env(), "tenant", "set", "comm_060", "--on-limit=delay", "--max-delayed=3")
	if want := "command delayed            up to 3\n"; r.code != exitDone || !strings.Contains(r.stdout, want) {
		t.Fatalf("tenant set: %+v, want %q", r, want)
	}
	for i := range 10 {
		if r := d.command(t, "comm_060", "ping", "{}"); r.status != http.StatusOK {
			t.Fatalf("command %d: %d %s", i, r.status, r.body)
		}
	}
	_, js := d.connect(t)
	for i := range 4 {
		body := fmt.Appendf(nil, `{"event_id":"later-%d","event_type":"interaction.create","guild_id":"comm_060","data":{"command_name":"ping"}}`, i)
		if _, err := js.Publish(t.Context(), "commands.interaction.comm_060", body); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "three are delayed", func() bool {
		return strings.Contains(d.printed(t, "usage comm_060"), `"action":"command","used":10,"limit":10,"remaining":0,"delayed":3,`)
	})
	if r := arrakis(t, d.env(), "usage", "comm_060"); !strings.Contains(r.stdout, "DELAYED\ncommand ") {
		t.Errorf("usage: %+v, want a column for what is delayed", r)
	}
	if r := d.command(t, "comm_060", "ping", "{}"); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" {
		t.Errorf("a request that waits: %d %v %s, want 429", r.status, r.header, r.body)
	}
}
