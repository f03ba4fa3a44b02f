package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

// A replayed message that was handled is acknowledged although the writers of dead letters have no room: it must not be
// handled again. The log names one of many such messages, and claims no number.
func TestReplayedMessageEndsWhileWritersAreBusy(t *testing.T) {
	t.Parallel()
	b, log := setup(t), new(testserver.Output)
	b.ensure()
	busy := &metricsStage{
		intake: newIntake(), nc: b.nc, log: log.Logger(), permits: &permitReturner{},
		deadLetters: make(chan *delivery),
	}
	for _, id := range []string{"e1", "e2"} {
		b.publish("commands.interaction", command("c1", "ping", id), contract.HeaderReplay, "17:1700000000000000000")
		msg := b.next(contract.StreamCommands, contract.ConsumerCommand)
		d := &delivery{source: commands, msg: msg, Message: Message{headers: msg.Headers()}, disposition: disposition{settlement: ack, status: contract.StatusOK}}
		d.EventID = id
		busy.end(t.Context(), d)
	}
	testserver.Eventually(t, "they are acknowledged", func() bool {
		s, err := b.js.Stream(t.Context(), contract.StreamCommands)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
	if l := log.String(); strings.Count(l, "\n") != 1 || !strings.Contains(l, "event_id=e1 replay=17:1700000000000000000 ") ||
		strings.Contains(l, "messages=") {
		t.Errorf("the log, want one line that names e1:\n%s", l)
	}
}

// F15: a worker deletes the dead letter of a replayed message before it settles the message, so that a replay that was
// interrupted before it could do that itself is not stored again.
func TestF15ReplayedMessageEndsItsDeadLetter(t *testing.T) {
	t.Parallel()
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

// letter is a command of big that became a dead letter.
func (f *flooded) letter(n int) *deadletter.Record {
	return &deadletter.Record{
		Stream: contract.StreamCommands, Sequence: uint64(n), Stored: time.Unix(1_700_000_000, 0), Subject: "commands.interaction",
		Body: command("big", "work", strconv.Itoa(n)), Reason: contract.ReasonAttemptsExhausted,
	}
}

// After an incident, the dead letters of one community are replayed at once. They wait in its lane as any other backlog,
// and others are served. All are handled, once, and none is left.
func TestReplaysWaitInALane(t *testing.T) {
	t.Parallel()
	const n = 1_500
	f := newFlooded(t)
	f.ensure()
	letters := deadletter.New(f.js)
	var g errgroup.Group
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error { return letters.Write(t.Context(), f.letter(i)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	f.start()
	for i := range n {
		g.Go(func() error {
			_, err := letters.Replay(t.Context(), uint64(i+1))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	f.awaitLane(n)
	if o := f.outcome(f.publish("commands.interaction", command("quiet", "work", "quiet"))); o.Status != contract.StatusOK {
		t.Errorf("%+v", o)
	}
	f.open()
	testserver.Eventually(t, "all are handled", func() bool { return f.count() == n+1 })
	f.wantOnce(n + 1)
	if left := f.deadLetters(contract.ReasonAttemptsExhausted); left != 0 {
		t.Errorf("%d dead letters are left", left)
	}
}

// F15: the replays of these dead letters were interrupted before they could delete them. Their messages move into a lane,
// where a repeated replay does not look for them. So when they have left their stream, their dead letters are gone.
func TestF15MovedReplayEndsItsDeadLetter(t *testing.T) {
	t.Parallel()
	const n = 200
	f := newFlooded(t)
	f.stayInLane("big")
	letters := deadletter.New(f.js)
	stream, err := f.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := letters.Write(t.Context(), f.letter(i)); err != nil {
			t.Fatal(err)
		}
		stored, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		f.publish("commands.interaction", stored.Data, contract.HeaderReplay, fmt.Sprintf("%d:%d", stored.Sequence, stored.Time.UnixNano()))
	}
	f.start()
	testserver.Eventually(t, "all have left their stream", func() bool { return f.stored(contract.StreamCommands) == 0 })
	if left := f.deadLetters(contract.ReasonAttemptsExhausted); left != 0 {
		t.Errorf("%d dead letters are left", left)
	}
	if waiting := f.stored(contract.StreamOverflow); waiting != n {
		t.Errorf("%d messages are in the lane, want %d", waiting, n)
	}
	f.open()
	testserver.Eventually(t, "all are handled", func() bool { return f.count() == n })
	f.wantOnce(n)
}

// A moved message whose replay cannot be ended now is not acknowledged as if it had been: it comes again, and its replay
// is ended then. Before JetStream forgets that it is in the lane, it is acknowledged all the same. Its time counts from
// when it was received, however many are before it.
func TestMovedReplayThatIsNotEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure()
	if err := b.js.DeleteStream(t.Context(), contract.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	s := &metricsStage{store: deadletter.New(b.js), log: slog.New(slog.DiscardHandler)}
	replayed := func(delivered uint64, received time.Time) *delivery {
		return &delivery{
			source: commands, Message: Message{headers: nats.Header{contract.HeaderReplay: {"17:1700000000000000000"}}},
			position: position{delivered: delivered}, received: received, disposition: disposition{settlement: carriedOn},
		}
	}
	now := time.Now()
	first, last := replayed(1, now), replayed(endMovedDeliveries, now)
	s.endReplays(t.Context(), []*delivery{first, last})
	if first.settlement != nak || first.delay < endMovedAgain {
		t.Errorf("the first delivery: %+v, want that it comes again after %v", first.disposition, endMovedAgain)
	}
	if last.settlement != carriedOn {
		t.Errorf("the delivery number %d: %+v, want that it is acknowledged", last.delivered, last.disposition)
	}
	b.ensure()
	again, late := replayed(2, now), replayed(2, now.Add(-endMovedTime))
	s.endReplays(t.Context(), []*delivery{again, late})
	if again.settlement != carriedOn || late.settlement != nak {
		t.Errorf("%+v and %+v, want the first acknowledged, and that the one whose time has passed comes again",
			again.disposition, late.disposition)
	}
}

// A replayed message asks nothing of DEADLETTER when it ends in its lane: its replay was ended when it was moved there.
func TestReplayInALaneHasEnded(t *testing.T) {
	t.Parallel()
	headers := nats.Header{contract.HeaderReplay: {"17:1700000000000000000"}}
	for lane, want := range map[bool]string{false: "17:1700000000000000000", true: ""} {
		d := &delivery{source: &source{lane: lane}, Message: Message{headers: headers}}
		if got := d.replayToEnd(); got != want || d.replay() == "" {
			t.Errorf("in a lane %t: %q is to be ended, want %q", lane, got, want)
		}
	}
}
