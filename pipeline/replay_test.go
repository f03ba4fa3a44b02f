package pipeline

import (
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
	busy := &metricsStage{nc: b.nc, log: slog.New(slog.DiscardHandler), permits: &permitReturner{}, deadLetters: make(chan *delivery)}
	busy.end(t.Context(), &delivery{msg: msg, headers: msg.Headers(), disposition: handled(nil, 1, 1)})
	testserver.Eventually(t, "it is acknowledged", func() bool {
		s, err := b.js.Stream(t.Context(), contract.StreamCommands)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}
