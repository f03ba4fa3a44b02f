package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a NATS server with the streams of the contract.
type bed struct {
	server  *testserver.NATSServer
	js      jetstream.JetStream
	letters *Store
}

func newBed(t *testing.T) *bed {
	t.Helper()
	server := testserver.NATS(t)
	js := testserver.JetStream(t, server.Connect(t))
	err := streams.Ensure(t.Context(), js, nil, streams.Options{Storage: jetstream.MemoryStorage}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &bed{server: server, js: js, letters: New(js)}
}

// write stores a dead letter as the pipeline does and returns its sequence.
func (b *bed) write(t *testing.T, stream string, reason contract.Reason, header map[string]string, body string) uint64 {
	t.Helper()
	m := nats.NewMsg(contract.DeadLetterSubject(stream, reason))
	m.Data = []byte(body)
	all := map[string]string{contract.HeaderStream: stream, contract.HeaderReason: string(reason)}
	maps.Copy(all, header)
	for name, value := range all {
		m.Header[name] = []string{value}
	}
	ack, err := b.js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// stored are the messages of a stream, oldest first.
func (b *bed) stored(t *testing.T, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// sequences are those of a page's letters.
func sequences(p Page) []uint64 {
	var all []uint64
	for _, l := range p.Entries {
		all = append(all, l.Seq)
	}
	return all
}

const ping = `{"event_id":"e1","event_type":"interaction.create","guild_id":"comm_007","data":{"command_name":"ping"}}`

func TestListShowsLetters(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{
		contract.HeaderSubject: "commands.interaction", contract.HeaderSequence: "17", contract.HeaderAttempts: "3",
		contract.HeaderError: "the handler panicked", contract.HeaderRequestID: "r1",
	}, ping)
	b.write(t, contract.StreamEligibility, contract.ReasonMalformed, map[string]string{contract.HeaderSubject: "eligibility.check.single.c"}, "\xff{")
	b.write(t, contract.StreamEvents, contract.ReasonNoCommunity, map[string]string{
		contract.HeaderSubject: "events.guild.join", contract.HeaderSequence: "many", contract.HeaderError: "\xff",
	}, `{"event_id":"e3"}`)
	got, err := b.letters.List(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := Page{Entries: []Entry{
		{
			Seq: 1, Stream: "COMMANDS", Subject: "commands.interaction", Sequence: 17, Reason: "panic",
			Error: "the handler panicked", Attempts: 3, RequestID: "r1", EventID: "e1", Community: "comm_007", Body: ping,
		},
		{Seq: 2, Stream: "ELIGIBILITY", Subject: "eligibility.check.single.c", Reason: "malformed", BodyBase64: []byte("\xff{")},
		{
			Seq: 3, Stream: "EVENTS", Subject: "events.guild.join", Reason: "no_community", Error: "\uFFFD",
			EventID: "e3", Body: `{"event_id":"e3"}`,
		},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Entry{}, "Time")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if age := time.Since(got.Entries[0].Time); age < -time.Minute || age > time.Minute {
		t.Errorf("time %s", got.Entries[0].Time)
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if p, err := b.letters.List(t.Context(), Query{}); err != nil || len(p.Entries) > 0 || p.Next != 0 {
		t.Errorf("of none: %+v, %v", p, err)
	}
	for i := range 25 { // 1 to 25
		stream, reason := contract.StreamCommands, contract.ReasonPanic
		if i%2 == 1 {
			stream = contract.StreamEvents
		}
		if i%5 == 0 {
			reason = contract.ReasonHandlerError
		}
		b.write(t, stream, reason, nil, strconv.Itoa(i))
	}
	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), 12); err != nil { // a gap
		t.Fatal(err)
	}
	for _, tt := range []struct {
		query Query
		want  [][]uint64 // pages
	}{
		{Query{Limit: 10}, [][]uint64{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, {11, 13, 14, 15, 16, 17, 18, 19, 20, 21}, {22, 23, 24, 25}}},
		{Query{Limit: 12}, [][]uint64{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13}, {14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25}}},
		{Query{After: 22}, [][]uint64{{23, 24, 25}}},
		{Query{After: 25}, [][]uint64{nil}},
		{Query{After: 1<<64 - 1}, [][]uint64{nil}},
		{Query{Reason: contract.ReasonHandlerError, Limit: 2}, [][]uint64{{1, 6}, {11, 16}, {21}}},
		{Query{Stream: contract.StreamEvents, Reason: contract.ReasonHandlerError}, [][]uint64{{6, 16}}},
		{Query{Stream: contract.StreamEvents, Limit: 1, After: 21}, [][]uint64{{22}, {24}}},
		{Query{Stream: contract.StreamEligibility}, [][]uint64{nil}},
	} {
		var got [][]uint64
		for query, more := tt.query, true; more; {
			page, err := b.letters.List(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, sequences(page))
			query.After, more = page.Next, page.Next > 0
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v (-want +got)\n%s", tt.query, diff)
		}
	}
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query Query
		field string
	}{
		{Query{Limit: -1}, "limit"},
		{Query{Limit: MaxLimit + 1}, "limit"},
		{Query{Stream: "INTERNAL"}, "stream"},
		{Query{Stream: "*"}, "stream"},
		{Query{Reason: ">"}, "reason"},
	} {
		_, err := New(nil).List(t.Context(), tt.query)
		var got *QueryError
		if !errors.As(err, &got) || got.Field != tt.field {
			t.Errorf("%+v: %v", tt.query, err)
		}
	}
}

// TestInvariantBoundedPage checks I6: a page is bounded by bytes too.
func TestInvariantBoundedPage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	large := strings.Repeat("x", 900<<10)
	for range 10 {
		b.write(t, contract.StreamCommands, contract.ReasonMalformed, nil, large)
	}
	page, err := b.letters.List(t.Context(), Query{})
	if err != nil || len(page.Entries) != 9 || page.Next != 9 {
		t.Errorf("%d letters, next %d, %v", len(page.Entries), page.Next, err)
	}
}

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
	config.Duplicates = 100 * time.Millisecond
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "message IDs are forgotten", func() bool {
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
		"commandsx.y", "commands." + strings.Repeat("x", maxSubject),
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

func TestAway(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.server.Stop()
	testserver.Eventually(t, "the connection is lost", func() bool { return !b.js.Conn().IsConnected() })
	_, listed := b.letters.List(t.Context(), Query{})
	_, replayed := b.letters.Replay(t.Context(), 1)
	if !errors.Is(listed, nats.ErrDisconnected) || !errors.Is(replayed, nats.ErrDisconnected) {
		t.Errorf("%v, %v", listed, replayed)
	}
}

// FuzzEntry reads dead letters that anybody may have written: the body stays what it was, and no subject is taken that
// NATS would not take.
func FuzzEntry(f *testing.F) {
	for _, body := range []string{ping, "\xff", "{", `{"event_id":"e","event_type":"a.b","guild_id":null,"community_id":"c"}`} {
		for kind := range uint8(contract.NumKinds) {
			f.Add(kind, "x", []byte(body), "3")
		}
	}
	f.Add(uint8(contract.NumKinds), "commands.interaction", []byte(ping), "-1")
	f.Fuzz(func(t *testing.T, kind uint8, subject string, body []byte, attempts string) {
		subject, body = subject[:min(len(subject), 2*maxSubject)], body[:min(len(body), 4<<10)]
		if kind %= uint8(contract.NumKinds) + 1; kind < uint8(contract.NumKinds) { // else it has no route's prefix
			subject = contract.Kind(kind).Route().Subject + "." + subject
		}
		e := newEntry(&jetstream.RawStreamMsg{Data: body, Header: nats.Header{
			contract.HeaderSubject: {subject}, contract.HeaderAttempts: {attempts},
		}})
		if e.Body != string(body) && !bytes.Equal(e.BodyBase64, body) {
			t.Errorf("body %q became %+v", body, e)
		}
		if _, ok := originOf(subject); ok && (strings.Contains("."+subject+".", "..") || strings.ContainsAny(subject, "*> \t\r\n")) {
			t.Errorf("subject %q would be published to", subject)
		}
	})
}
