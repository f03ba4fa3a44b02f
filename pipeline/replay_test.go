package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// A replayed message that was handled is acknowledged although the writers of dead letters have no room: it must not be
// handled again.
func TestReplayedMessageEndsWhileWritersAreBusy(t *testing.T) {
	b := setup(t)
	b.ensure()
	b.publish("commands.interaction", command("c1", "ping", "e1"), contract.HeaderReplay, "17:1700000000000000000")
	consumer, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	busy := &metricsStage{intake: newIntake(), nc: b.nc, log: slog.New(slog.DiscardHandler), permits: &permitReturner{}, deadLetters: make(chan *delivery)}
	busy.end(t.Context(), &delivery{source: commands, msg: msg, headers: msg.Headers(), disposition: disposition{settlement: ack, status: contract.StatusOK}})
	testserver.Eventually(t, "it is acknowledged", func() bool {
		s, err := b.js.Stream(t.Context(), contract.StreamCommands)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// F15: a worker deletes the dead letter of a replayed message before it settles the message, so that a replay that was
// interrupted before it could do that itself is not stored again.
func TestF15ReplayedMessageEndsItsDeadLetter(t *testing.T) {
	b := setup(t)
	b.handlers.Command("shaky", func(_ context.Context, m *Message) (any, error) {
		if m.RequestID != "replayed" {
			panic("not today")
		}
		return "done", nil
	})
	b.start()
	body := command("c1", "shaky", "e1")
	b.outcome(b.publish("commands.interaction", body))
	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := s.GetLastMsgForSubject(t.Context(), contract.DeadLetterSubject(contract.StreamCommands, contract.ReasonPanic))
	if err != nil {
		t.Fatal(err)
	}
	o := b.outcome(b.publish("commands.interaction", body, contract.HeaderRequestID, "replayed",
		contract.HeaderReplay, fmt.Sprintf("%d:%d", letter.Sequence, letter.Time.UnixNano())))
	if o.Status != contract.StatusOK {
		t.Errorf("the replayed message: %+v", o)
	}
	if n := b.deadLetters(contract.ReasonPanic); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
}
