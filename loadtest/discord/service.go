package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// serve handles all commands, as a NATS micro service in a process that is not killed, and tells ran of each run. The
// answer names its interaction, so that one that goes to another is found.
func serve(nc *nats.Conn, ran func(id string)) error {
	_, err := nc.QueueSubscribe("handlers.command.>", "discord", func(request *nats.Msg) {
		id := request.Header.Get("Arrakis-Event-Id")
		ran(id)
		answer := func() {
			_ = request.Respond(fmt.Appendf(nil, "%q", "pong "+id)) // a lost answer is a fault like any other: it is tried again
		}
		switch name := request.Subject[strings.LastIndexByte(request.Subject, '.')+1:]; name {
		case slowCommand, slowComponent:
			time.AfterFunc(slowLeast+rand.N(slowMost-slowLeast), answer) //nolint:gosec // a load, not a secret
		default:
			answer()
		}
	})
	return err
}

// tap tells stored of every interaction that is published for COMMANDS. It sees what JetStream sees, before a worker
// does.
func tap(nc *nats.Conn, stored func(id string)) error {
	sub, err := nc.Subscribe("commands.>", func(m *nats.Msg) { stored(m.Header.Get("Nats-Msg-Id")) })
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(-1, -1) // what it does not see would count as not stored
}
