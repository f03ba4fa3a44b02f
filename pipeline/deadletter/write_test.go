package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// recordOf is a record of a message with these headers and this body.
func recordOf(header nats.Header, body []byte) *Record {
	return &Record{
		Stream: contract.StreamCommands, Sequence: 7, Stored: time.Unix(1, 0), Subject: "commands.interaction",
		Headers: header, Body: body, Attempts: 1, Reason: contract.ReasonMalformed, Cause: "it is not JSON",
	}
}

// F13: whatever the headers and the body, a dead letter is stored; what was cut is marked and not replayed.
func TestF13AnyRecordIsStored(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	largest := int(b.js.Conn().MaxPayload())
	many := make(nats.Header)
	for i := range 4_000 {
		many[strings.Repeat("h", 12)+strconv.Itoa(i)] = []string{"v"}
	}
	bodyOf := func(n int) []byte { return bytes.Repeat([]byte("b"), n) }
	for i, tt := range []struct {
		name             string
		header           nats.Header
		body             []byte
		headers, bodyCut bool
	}{
		{"whole", nats.Header{"X": {"1", "2"}, "traceparent": {"t"}}, []byte(ping), false, false},
		{"a header of 60 KB and a full body", nats.Header{"Arrakis-X": {strings.Repeat("x", 60_000)}}, bodyOf(largest - 60_100), true, false},
		{"headers beyond 64 KB with the dead letter's own", nats.Header{"X": {strings.Repeat("x", 65_000)}}, []byte(ping), true, false},
		{"many headers", many, []byte(ping), true, false},
		{"a full body", nil, bodyOf(largest), false, true},
		{"a full body and a header", nats.Header{"X": {"1"}}, bodyOf(largest), true, true},
		{"a name that NATS does not write", nats.Header{"a b": {"1"}, "X": {"1"}}, []byte(ping), true, false},
		{"a name of 60 KB", nats.Header{strings.Repeat("n", 60_000): {""}}, bodyOf(largest - 60_100), true, false},
		{"marks of the sender", nats.Header{contract.HeaderTruncated: {"1"}, contract.HeaderHeadersCut: {"1"}}, []byte(ping), false, false},
	} {
		r := recordOf(tt.header, tt.body)
		r.Sequence = uint64(i)
		if err := b.letters.Write(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		stored := b.stored(t, contract.StreamDeadLetter)
		last := stored[len(stored)-1]
		if got := last.Header.Get(contract.HeaderHeadersCut) != ""; got != tt.headers {
			t.Errorf("%s: headers cut %t, want %t", tt.name, got, tt.headers)
		}
		if got := last.Header.Get(contract.HeaderTruncated) != ""; got != tt.bodyCut {
			t.Errorf("%s: body cut %t, want %t", tt.name, got, tt.bodyCut)
		}
		if !tt.bodyCut && !bytes.Equal(last.Data, tt.body) {
			t.Errorf("%s: the body is %d bytes, want %d", tt.name, len(last.Data), len(tt.body))
		}
		_, err := b.letters.Replay(t.Context(), last.Sequence)
		if refused := errors.As(err, new(*RefusedError)); refused != (tt.headers || tt.bodyCut) {
			t.Errorf("%s: Replay = %v", tt.name, err)
		}
	}
}

// No dead letter holds the token of an interaction, whatever its message was: not in the body, nor in a body that was
// cut, nor in the error or a header.
func TestNoTokenIsStored(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const token = "aW50ZXJhY3Rpb246c2VjcmV0"
	for i, tt := range []struct{ name, body, cause string }{
		{"a command", `{"event_id":"1","guild_id":"2","data":{"interaction_token":"` + token + `"}}`, "the handler failed"},
		{"a body that is cut", `{"data":{"interaction_token":"` + token + `","x":"` + strings.Repeat("x", int(b.js.Conn().MaxPayload())), "the handler failed"},
		{"no JSON", `interaction_token": "` + token, "it is not JSON"},
		{"as Discord sends it", `{"token":"` + token + `"}`, "event_id: is missing"},
		{"the error of a request", `{}`, `Post "https://discord.com/api/v10/webhooks/1/` + token + `": timeout`},
	} {
		r := recordOf(nats.Header{"X-Webhook": {"of this", "/webhooks/1/" + token}}, []byte(tt.body))
		r.Sequence, r.Cause = uint64(i), tt.cause
		if err := b.letters.Write(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		stored := b.stored(t, contract.StreamDeadLetter)
		last := stored[len(stored)-1]
		if text := fmt.Sprint(last.Header) + string(last.Data); strings.Contains(text, token) {
			t.Errorf("%s: the token is in %s", tt.name, contract.Clip(text, 500))
		}
		if string(r.Body) != tt.body || r.Cause != tt.cause || !strings.Contains(r.Headers["X-Webhook"][1], token) {
			t.Errorf("%s: Write has changed the record", tt.name)
		}
	}
}

// F13: the stream may take less than the server.
func TestF13StreamTakesLess(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	config := b.config(t)
	config.MaxMsgSize = 1 << 10
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r := recordOf(nats.Header{"X": {strings.Repeat("x", 500)}}, bytes.Repeat([]byte("b"), 10_000))
	r.Subject = "commands." + strings.Repeat("s", 2_000)
	r.Cause = strings.Repeat("c", 1_000)
	if err := b.letters.Write(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if stored := b.stored(t, contract.StreamDeadLetter); len(stored) != 1 || stored[0].Header.Get(contract.HeaderTruncated) != "10000" {
		t.Errorf("stored %+v", stored)
	}
}

func (b *bed) config(t *testing.T) jetstream.StreamConfig {
	t.Helper()
	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

// FuzzRecord makes dead letters of hostile messages: each fits, NATS takes it, and what is missing is marked.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("X: 1\r\nNats-Msg-Id: 2\r\nArrakis-Truncated: 3\r\n"), 0, 0, "commands.interaction", "cause", uint32(1<<20))
	f.Add([]byte("X: "), 60_000, 1<<20, "commands.interaction", "cause", uint32(1<<20))
	f.Add([]byte("a b: 1\r\nArrakis-X: "), 66_000, 100, "commands.x", "\xff\r\n", uint32(1<<20))
	f.Add([]byte("X:1\r\nX:2\r\nY:3\r\nZ: "), 900, 0, strings.Repeat("s", 4_000), "", uint32(2<<10))
	body := make([]byte, 1<<17)
	f.Fuzz(func(t *testing.T, head []byte, tail, size int, subject, cause string, limit uint32) {
		const least = 1 << 10
		limit = max(limit%(1<<17), least)
		head = append(head[:min(len(head), 4<<10)], bytes.Repeat([]byte("x"), abs(tail)%70_000)...)
		header, err := nats.DecodeHeadersMsg(append([]byte("NATS/1.0\r\n"), append(head, "\r\n\r\n"...)...))
		if err != nil {
			header = nil // as nats.go delivers it
		}
		r := recordOf(header, body[:abs(size)%len(body)])
		r.Subject, r.Cause = oneLine(subject[:min(len(subject), 4<<10)]), cause[:min(len(cause), 2*MaxCause)]
		checkLetter(t, r, r.message(int64(limit)), int(limit))
	})
}

func abs(n int) int { return max(n, -(n + 1)) }

// oneLine makes a text such as NATS may deliver as a subject.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' {
			return '-'
		}
		return r
	}, s)
}

// checkLetter holds the dead letter m of r against r.
func checkLetter(t *testing.T, r *Record, m *nats.Msg, limit int) {
	t.Helper()
	size := headersSize(m.Header)
	if size > 1<<16-1 || size+len(m.Data) > limit {
		t.Fatalf("%d bytes of headers and %d of body, at most %d are taken", size, len(m.Data), limit)
	}
	for name := range m.Header {
		if !validHeader(name) {
			t.Fatalf("nats.go does not write the header %q", name)
		}
	}
	want := make(nats.Header)
	maps.Copy(want, r.Headers)
	maps.DeleteFunc(want, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	got := maps.Clone(m.Header)
	for name := range r.reasons() {
		delete(got, name)
		delete(want, name)
	}
	for _, mark := range []string{contract.HeaderTruncated, contract.HeaderHeadersCut} {
		delete(got, mark)
		delete(want, mark)
	}
	headersCut, bodyCut := m.Header.Get(contract.HeaderHeadersCut), m.Header.Get(contract.HeaderTruncated)
	if whole := maps.EqualFunc(want, got, slices.Equal); whole != (headersCut == "") {
		t.Errorf("headers cut %q (-want +got)\n%s", headersCut, cmp.Diff(want, got))
	}
	if whole := len(m.Data) == len(r.Body); whole != (bodyCut == "") || !bytes.HasPrefix(r.Body, m.Data) {
		t.Errorf("%d of %d bytes of the body, and the mark %q", len(m.Data), len(r.Body), bodyCut)
	}
	if bodyCut != "" && len(got) > 0 && headersCut == "" {
		t.Errorf("the body is cut before the headers %v", got)
	}
}

// A dead letter with the header Status and without a body would look like an answer of the server, and so would its
// message after a replay.
func TestStatusWithoutBodyIsCut(t *testing.T) {
	b := newBed(t)
	for body, cut := range map[string]string{"": "1", "x": ""} {
		r := recordOf(nats.Header{"Status": {"404"}, "Other": {"kept"}}, []byte(body))
		r.Sequence = uint64(len(body)) // else both are the same dead letter
		if err := b.letters.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		m := b.stored(t, contract.StreamDeadLetter)
		h := m[len(m)-1].Header
		if h.Get(contract.HeaderHeadersCut) != cut || (h.Get("Status") == "") != (cut != "") || h.Get("Other") != "kept" {
			t.Errorf("body %q: %v", body, h)
		}
	}
}
