package deadletter

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func TestReplay(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.write(t, contract.StreamEvents, contract.ReasonPanic, nil, "another")
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{
		contract.HeaderSubject: "commands.interaction.comm_007", contract.HeaderSequence: "17", contract.HeaderAttempts: "3",
		contract.HeaderError: "x", contract.HeaderReplyTo: "_INBOX.gone", contract.HeaderRequestID: "r1", contract.HeaderReplay: "1",
		"Nats-Msg-Id": "COMMANDS:17:1", "traceparent": "00-1", "X-Mine": "kept",
	}, ping)
	got, err := b.letters.Replay(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	want := Replayed{Seq: seq, Stream: "COMMANDS", Subject: "commands.interaction.comm_007", Sequence: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	back := b.stored(t, contract.StreamCommands)
	if len(back) != 1 || back[0].Subject != want.Subject || string(back[0].Data) != ping {
		t.Fatalf("stored: %+v", back)
	}
	header := back[0].Header
	if id := header.Get("Nats-Msg-Id"); !strings.HasPrefix(id, "replay:2:") {
		t.Errorf("message ID %q", id)
	}
	if header.Get("Nats-Msg-Id") != "replay:"+header.Get(contract.HeaderReplay) {
		t.Errorf("%s is %q", contract.HeaderReplay, header.Get(contract.HeaderReplay))
	}
	header.Del("Nats-Msg-Id")
	header.Del("Nats-Expected-Stream")
	header.Del(contract.HeaderReplay)
	if diff := cmp.Diff(nats.Header{
		contract.HeaderRequestID: {"r1"}, "traceparent": {"00-1"}, "X-Mine": {"kept"},
	}, header); diff != "" {
		t.Errorf("headers (-want +got)\n%s", diff)
	}
	left, err := b.letters.List(t.Context(), Query{})
	if diff := cmp.Diff([]uint64{1}, sequences(left)); err != nil || diff != "" {
		t.Errorf("%v, left (-want +got)\n%s", err, diff)
	}
	for _, gone := range []uint64{seq, 99, 0} {
		if _, err := b.letters.Replay(t.Context(), gone); !errors.Is(err, ErrNotFound) {
			t.Errorf("replay of %d: %v", gone, err)
		}
	}
}

// TestReplayIsStoredOnce: of clicks at once, and of a repetition after the dead letter could not be deleted.
func TestReplayIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	header := map[string]string{contract.HeaderSubject: "commands.interaction"}
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, header, ping)
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for range cap(results) {
		wg.Go(func() {
			_, err := b.letters.Replay(t.Context(), seq)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	done := 0
	for err := range results {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if n := len(b.stored(t, contract.StreamCommands)); n != 1 || done == 0 {
		t.Errorf("%d stored, %d done", n, done)
	}

	// The letter of before, published by a replay that got no further.
	seq = b.write(t, contract.StreamCommands, contract.ReasonPanic, header, ping)
	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := s.GetMsg(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("replay:%d:%d", seq, letter.Time.UnixNano())
	if _, err := b.js.Publish(t.Context(), "commands.interaction", nil, jetstream.WithMsgID(id)); err != nil {
		t.Fatal(err)
	}
	got, err := b.letters.Replay(t.Context(), seq)
	if err != nil || !got.Duplicate || len(b.stored(t, contract.StreamCommands)) != 2 || len(b.stored(t, contract.StreamDeadLetter)) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// interruptedReplay replays as a process does that dies before it deletes the dead letter.
func (b *bed) interruptedReplay(t *testing.T, seq uint64) {
	t.Helper()
	letters, stored, err := b.letters.get(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.letters.mark(t.Context(), replayOf(stored), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	if _, err := b.letters.republish(t.Context(), letters, stored, contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
}

// forgetIDs waits until COMMANDS knows none of the message IDs of before.
func (b *bed) forgetIDs(t *testing.T) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), contract.StreamCommands)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	testserver.Eventually(t, "message IDs are forgotten", func() bool {
		// A server that forgets with the old time once more, while it takes over a new one, does so for two minutes again.
		config.Duplicates = 100*time.Millisecond + config.Duplicates%2 + 1
		if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
			t.Error(err)
			return true
		}
		ack, err := b.js.Publish(t.Context(), "commands.probe", nil, jetstream.WithMsgID("probe"))
		return err == nil && !ack.Duplicate && ack.Sequence > 1 && b.count(t, "commands.probe") > 1
	})
}

// count returns how many messages COMMANDS has on a subject.
func (b *bed) count(t *testing.T, subject string) int {
	t.Helper()
	n := 0
	for _, m := range b.stored(t, contract.StreamCommands) {
		if m.Subject == subject {
			n++
		}
	}
	return n
}

// F15: a replay that was interrupted before the dead letter was deleted is stored once, also when it is repeated after
// JetStream has forgotten its message ID. The message is still in its stream.
func TestF15ReplayRepeatedLate(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	header := map[string]string{contract.HeaderSubject: "commands.interaction"}
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, header, ping)
	for range 3 { // others on the subject, before and after
		if _, err := b.js.Publish(t.Context(), "commands.interaction", []byte(ping)); err != nil {
			t.Fatal(err)
		}
	}
	b.interruptedReplay(t, seq)
	for range 3 {
		if _, err := b.js.Publish(t.Context(), "commands.interaction", []byte(ping)); err != nil {
			t.Fatal(err)
		}
	}
	b.forgetIDs(t)
	got, err := b.letters.Replay(t.Context(), seq)
	want := Replayed{Seq: seq, Stream: "COMMANDS", Subject: "commands.interaction", Sequence: 4, Duplicate: true}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if n := b.count(t, "commands.interaction"); n != 7 {
		t.Errorf("%d messages are stored, want 7", n)
	}
	if left := b.stored(t, contract.StreamDeadLetter); len(left) != 0 {
		t.Errorf("DEADLETTER still has %d messages, first %s", len(left), left[0].Subject)
	}
}

// F15: as before, but the message was handled in the meantime, and the server has been restarted.
func TestF15ReplayRepeatedAfterItsMessageWasHandled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{contract.HeaderSubject: "commands.interaction"}, ping)
	b.interruptedReplay(t, seq)
	c, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.letters.EndReplay(t.Context(), m.Headers().Get(contract.HeaderReplay), m.Data()); err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.forgetIDs(t)
	if _, err := b.letters.Replay(t.Context(), seq); !errors.Is(err, ErrNotFound) {
		t.Errorf("the repetition: %v", err)
	}
	if n := b.count(t, "commands.interaction") + len(b.stored(t, contract.StreamDeadLetter)); n != 0 {
		t.Errorf("%d messages are stored, want none", n)
	}
}

// F15: a replay that marked and got no further is no replay: the repetition stores the message.
func TestF15ReplayInterruptedBeforeItsMessageWasStored(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{contract.HeaderSubject: "commands.interaction"}, ping)
	_, stored, err := b.letters.get(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.letters.mark(t.Context(), replayOf(stored), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	if page, err := b.letters.List(t.Context(), Query{}); err != nil || len(page.Entries) != 1 {
		t.Errorf("the list shows %d entries, %v, want the dead letter and not the mark", len(page.Entries), err)
	}
	got, err := b.letters.Replay(t.Context(), seq)
	if err != nil || got.Duplicate || b.count(t, "commands.interaction") != 1 || len(b.stored(t, contract.StreamDeadLetter)) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A repetition of a replay does not search a backlog without end, and does not store the message without knowing.
func TestReplaySearchIsBounded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{contract.HeaderSubject: "commands.interaction"}, ping)
	_, stored, err := b.letters.get(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.letters.mark(t.Context(), replayOf(stored), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	for range maxSearched {
		if _, err := b.js.PublishAsync("commands.interaction", []byte(ping), jetstream.WithStallWait(testserver.Patience)); err != nil {
			t.Fatal(err)
		}
	}
	<-b.js.PublishAsyncComplete()
	if _, err := b.letters.Replay(t.Context(), seq); err == nil || !strings.Contains(err.Error(), "try again when") {
		t.Errorf("Replay: %v, want an error that says what to do", err)
	}
	if n := b.count(t, "commands.interaction"); n != maxSearched {
		t.Errorf("%d messages are stored, want %d", n, maxSearched)
	}
}

// The mark of a replay must not cost the dead letter: in a full stream it evicts the oldest, which is the one replayed.
func TestReplayFromFullStream(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	header := map[string]string{contract.HeaderSubject: "commands.interaction"}
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, header, ping)
	b.write(t, contract.StreamCommands, contract.ReasonPanic, header, ping)
	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo()
	config := info.Config
	config.MaxBytes = int64(info.State.Bytes)
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if got, err := b.letters.Replay(t.Context(), seq); err != nil || got.Sequence != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if n := b.count(t, "commands.interaction"); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

// Whoever may publish messages may not delete dead letters: a message that is no replay deletes nothing.
func TestEndReplayOfOthers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{contract.HeaderSubject: "commands.interaction"}, ping)
	_, stored, err := b.letters.get(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ replay, body string }{
		{"", ping}, {"x", ping}, {"1", ping}, {"1:1", ping}, {"0:0", ping}, {"99:1", ping}, {"-1:1", ping}, {replayOf(stored), "another"},
	} {
		if err := b.letters.EndReplay(t.Context(), tt.replay, []byte(tt.body)); err != nil {
			t.Errorf("%q: %v", tt.replay, err)
		}
	}
	if n := len(b.stored(t, contract.StreamDeadLetter)); n != 1 {
		t.Errorf("%d dead letters are left, want 1", n)
	}
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, subject := range []string{
		"", "commands", "commands.", "commands.*", "commands.>", "commands..x", ".commands.x", "commands.a b", "commands.ü",
		"deadletter.COMMANDS.panic", "internal.x", "eligibility.other", "_INBOX.x", "$JS.API.STREAM.DELETE.COMMANDS",
		"commandsx.y", "commands." + strings.Repeat("x", 1024),
	} {
		header := map[string]string{}
		if subject != "" {
			header[contract.HeaderSubject] = subject
		}
		seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, header, ping)
		_, err := b.letters.Replay(t.Context(), seq)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Seq != seq || refused.Subject != subject {
			t.Errorf("%.40q: %v", subject, err)
		}
	}
	if n := len(b.stored(t, contract.StreamDeadLetter)); n != 16 {
		t.Errorf("%d dead letters are left, want 16", n)
	}
}

// TestReplayRefusesHalfABody: what was cut to fit is no message any more.
func TestReplayRefusesHalfABody(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonMalformed, map[string]string{
		contract.HeaderSubject: "commands.interaction", contract.HeaderTruncated: "1048576",
	}, ping)
	_, err := b.letters.Replay(t.Context(), seq)
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "beginning of a body of 1048576 bytes") {
		t.Errorf("%v", err)
	}
	if left := b.stored(t, contract.StreamDeadLetter); len(left) != 1 {
		t.Errorf("%d dead letters are left, want 1", len(left))
	}
}

// TestReplayKeepsTheLetter: where the message cannot be stored, it stays.
func TestReplayKeepsTheLetter(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{contract.HeaderSubject: "commands.interaction"}, ping)
	if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	if _, err := b.letters.Replay(t.Context(), seq); err == nil {
		t.Error("replayed into a stream that is not there")
	}
	if left := b.stored(t, contract.StreamDeadLetter); len(left) != 1 {
		t.Errorf("%d dead letters are left, want 1", len(left))
	}
}

// A header that no replay has made is none.
func TestIsReplay(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"17:1700000000000000000": true, "1:1": true,
		"": false, "17": false, "17:": false, ":1": false, "x:1": false, "1:x": false, "1:2:3": false, "-1:1": false, "1:-1": false,
		"18446744073709551616:1": false, "1:9223372036854775808": false,
	} {
		if got := IsReplay(header); got != want {
			t.Errorf("%q is a replay: %t", header, got)
		}
	}
}
