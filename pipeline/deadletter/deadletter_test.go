package deadletter

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"strings"
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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testserver.NATSLeaks()...) }

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
	letters := New(js)
	letters.lookTime = testserver.Patience // no page is short because the machine is slow
	return &bed{server: server, js: js, letters: letters}
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
		{Query{Cursor: 22}, [][]uint64{{23, 24, 25}}},
		{Query{Cursor: 25}, [][]uint64{nil}},
		{Query{Cursor: 1<<64 - 1}, [][]uint64{nil}},
		{Query{Filter: Filter{Reason: contract.ReasonHandlerError}, Limit: 2}, [][]uint64{{1, 6}, {11, 16}, {21}}},
		{Query{Filter: Filter{Stream: contract.StreamEvents, Reason: contract.ReasonHandlerError}}, [][]uint64{{6, 16}}},
		{Query{Filter: Filter{Stream: contract.StreamEvents}, Limit: 1, Cursor: 21}, [][]uint64{{22}, {24}}},
		{Query{Filter: Filter{Stream: contract.StreamEligibility}}, [][]uint64{nil}},
	} {
		var got [][]uint64
		for query, more := tt.query, true; more; {
			page, err := b.letters.List(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, sequences(page))
			query.Cursor, more = page.Next, page.Next > 0
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
		{Query{Filter: Filter{Stream: "INTERNAL"}}, "stream"},
		{Query{Filter: Filter{Stream: "*"}}, "stream"},
		{Query{Filter: Filter{Reason: ">"}}, "reason"},
		{Query{Filter: Filter{Community: "a b"}}, "community"},
		{Query{Order: "random"}, "order"},
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
		subject, body = subject[:min(len(subject), 2<<10)], body[:min(len(body), 4<<10)]
		if kind %= uint8(contract.NumKinds) + 1; kind < uint8(contract.NumKinds) { // else it has no route's prefix
			subject = contract.Kind(kind).Route().Subject + "." + subject
		}
		e := newEntry(&jetstream.RawStreamMsg{Data: body, Header: nats.Header{
			contract.HeaderSubject: {subject}, contract.HeaderAttempts: {attempts},
		}})
		if e.Body != string(body) && !bytes.Equal(e.BodyBase64, body) {
			t.Errorf("body %q became %+v", body, e)
		}
		if _, ok := contract.RouteOf(subject); ok && (strings.Contains("."+subject+".", "..") || strings.ContainsAny(subject, "*> \t\r\n")) {
			t.Errorf("subject %q would be published to", subject)
		}
	})
}

// A message in DEADLETTER whose headers cannot be decoded made every list end with an error.
func TestListShowsUnreadableHeaders(t *testing.T) {
	b := newBed(t)
	testserver.PublishRaw(t, b.server.URL(), contract.DeadLetterSubject("COMMANDS", contract.ReasonMalformed), "no colon", "theirs")
	seq := b.write(t, "COMMANDS", contract.ReasonMalformed, nil, "ours")
	page, err := b.letters.List(t.Context(), Query{})
	if err != nil || len(page.Entries) != 2 || page.Entries[0].Body != "theirs" || page.Entries[1].Seq != seq {
		t.Errorf("%+v, %v", page.Entries, err)
	}
}
