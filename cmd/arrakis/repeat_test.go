package main

import (
	"fmt"
	"net/http"
	"testing"
)

// TestF6EventIDIsNoFreePass guards against F6 on a whole process: an event ID bypasses neither the limit nor the
// question whether a request has run. comm_098 is on the free tier, with 10 commands a minute.
func TestF6EventIDIsNoFreePass(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	send := func(id string, n int) response {
		body := fmt.Sprintf(`{"event_id":%q,"community_id":"comm_098","data":{"command_name":"stats","options":%d}}`, id, n)
		return do(t, d.client, http.MethodPost, d.ingress+"/v1/commands", body)
	}
	first := send("k", 0)
	if first.status != http.StatusOK {
		t.Fatalf("status %d: %s", first.status, first.body)
	}
	for n := range 40 {
		want := http.StatusUnprocessableEntity
		if n == 0 {
			want = http.StatusOK
		}
		if r := send("k", n); r.status != want {
			t.Errorf("body %d under the same event ID: status %d, want %d", n, r.status, want)
		}
	}
	for range 40 {
		if r := send("k", 0); string(r.body) != string(first.body) || r.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("the same request again: %s, want %s", r.body, first.body)
		}
	}
	// The repeated requests have used nothing up: nine more commands are admitted, and an event ID that was refused for
	// the limit is no free pass either.

	for n := range 20 {
		want := http.StatusOK
		if n >= 9 {
			want = http.StatusTooManyRequests
		}
		r := send(fmt.Sprint(n), n)
		if r.status != want {
			t.Errorf("command %d: status %d, want %d", n, r.status, want)
		}
		if again := send(fmt.Sprint(n), n); again.status != want {
			t.Errorf("command %d again: status %d, want %d", n, again.status, want)
		}
	}
	r := d.command(t, "comm_097", "stats", "{}")
	made := r.outcome(t).EventID
	if made == "" {
		t.Fatalf("no event ID in %s", r.body)
	}
	again := do(t, d.client, http.MethodPost, d.ingress+"/v1/commands",
		fmt.Sprintf(`{"event_id":%q,"community_id":"comm_097","data":{"command_name":"stats"}}`, made))
	if again.status != http.StatusUnprocessableEntity {
		t.Errorf("an event ID that arrakis made up: status %d: %s", again.status, again.body)
	}
}
