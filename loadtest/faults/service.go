package main

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/faults/audit"
)

// service handles all messages, as a NATS micro service in a process that no fault kills. It notes every run before it
// answers.
type service struct {
	nc     *nats.Conn
	ledger *audit.Ledger
	begin  func(id, attempt string) (run int) // notes in the ledger that a run begins

	hanging atomic.Bool  // answers nobody
	hung    atomic.Int64 // requests that were not answered
	sub     *nats.Subscription
}

// start takes requests.
func (s *service) start() (err error) {
	s.sub, err = s.nc.QueueSubscribe("handlers.>", "faults", s.handle)
	return err
}

// stop takes no more requests, so that there is no responder.
func (s *service) stop() error { return s.sub.Unsubscribe() }

// handle handles one message, after 1 to 16 ms, so that some are in flight at any time. A message of a community that
// floods takes longer.
func (s *service) handle(req *nats.Msg) {
	id := req.Header.Get("Arrakis-Event-Id")
	run := s.begin(id, req.Header.Get("Arrakis-Attempt"))
	if s.hanging.Load() {
		s.hung.Add(1)
		return
	}
	takes := time.Millisecond * time.Duration(1+len(req.Data)*run%16)
	if floods(req.Header.Get("Arrakis-Community")) {
		takes = floodHandler + rand.N(floodHandlerMore) //nolint:gosec // a load, not a secret
	}
	time.AfterFunc(takes, func() { s.answer(req, id, run) })
}

// answer does what the event ID asks for.
func (s *service) answer(req *nats.Msg, id string, run int) {
	reply := nats.NewMsg(req.Reply)
	switch behaviour := id[strings.LastIndexByte(id, '-')+1:]; {
	case behaviour == refuses:
		s.ledger.End(id, audit.Refused)
		setError(reply, "403", "refused")
	case behaviour == fails, behaviour == stumbles && run == 1:
		setError(reply, "500", "failed")
	default:
		s.ledger.End(id, audit.Handled)
		reply.Data = []byte(`{"handled":true}`)
	}
	_ = req.RespondMsg(reply) // a lost answer is a fault like any other: the message is tried again
}

func setError(m *nats.Msg, code, text string) {
	m.Header.Set("Nats-Service-Error-Code", code)
	m.Header.Set("Nats-Service-Error", text)
}
