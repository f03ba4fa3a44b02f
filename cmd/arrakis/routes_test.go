package main

import (
	"strings"
	"testing"

	"arrakis/pipeline/contract"
)

// What --help lists of the contract's routes and reasons cannot be made from the table; this holds it to the table.
func TestHelpListsEveryRoute(t *testing.T) {
	t.Parallel()
	send, list := arrakis(t, environment{}, "send", "--help").stdout, arrakis(t, environment{}, "dlq", "list", "--help").stdout
	for _, r := range contract.Routes() {
		if r.HTTPPath == "" {
			continue // arrakis alone stores such messages
		}
		if !strings.Contains(send, r.Name) {
			t.Errorf("send --help does not name the kind %s", r.Name)
		}
		noServer := arrakis(t, environment{}, "send", "comm_007", "x", "--kind", r.Name, "--nats-url", "nats://127.0.0.1:1")
		if noServer.code != exitFailed || !strings.Contains(noServer.stderr, "connect to NATS") {
			t.Errorf("send --kind %s: %+v, want it to look for NATS", r.Name, noServer)
		}
	}
	for _, stream := range contract.Streams() {
		if !strings.Contains(list, stream) {
			t.Errorf("dlq list --help does not name the stream %s", stream)
		}
	}
	for _, reason := range contract.Reasons() {
		if !strings.Contains(list, string(reason)) {
			t.Errorf("dlq list --help does not name the reason %s", reason)
		}
	}
}
