package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// outcomeOf is the outcome of a message whose handler returned result, as it is published.
func outcomeOf(t *testing.T, result any) ([]byte, error) {
	t.Helper()
	text, err := encodeResult(result)
	return published(t, text, err)
}

// published is outcomeOf for a result that is JSON already.
func published(t *testing.T, text json.RawMessage, err error) ([]byte, error) {
	t.Helper()
	d := &delivery{result: text}
	p := retryPolicy{backoff: []time.Duration{time.Second}}
	d.disposition = p.handled(err, &try{attempt: 1, maxAttempts: 3})
	d.Tenant = &tenant.Tenant{}
	data, failed := json.Marshal(d.outcome())
	if failed != nil {
		t.Fatalf("%q cannot be published: %v", text, failed)
	}
	return data, err
}

// F12: what a handler returns ends the same in the worker and in the ingress, as a success or an error that says why.
func TestF12Results(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	for _, tt := range []struct{ body, result, refused string }{
		{body: `{"a":[1,null,"\ud83c\udfdc"]}`, result: `{"a":[1,null,"\ud83c\udfdc"]}`},
		{body: ``, result: ``},
		{body: `plain text`, result: `"plain text"`},
		{body: "text \xff", result: `"text ` + "\uFFFD" + `"`},
		{body: `{"text":"\ud83d"}`, result: `{"text":"` + "\uFFFD" + `"}`},
		{body: "{\"text\":\"\xff\"}", result: `{"text":"` + "\uFFFD" + `"}`},
		{body: `{"a":1,"a":2}`, refused: `member "a" is twice`},
		{body: `{"\ud83d":1,"\ud83e":2}`, refused: "unpaired surrogate"},
		{body: nested(contract.MaxDepth - 1), result: nested(contract.MaxDepth - 1)},
		{body: nested(contract.MaxDepth), refused: "nested deeper"},
	} {
		result, err := replyResult([]byte(tt.body))
		var data []byte
		if err == nil {
			data, err = published(t, result, nil)
		}
		var refused *resultError
		if (tt.refused != "") != errors.As(err, &refused) || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%.40q: error %v, want %q", tt.body, err, tt.refused)
		}
		if err != nil {
			continue
		}
		var got struct {
			Result jsontext.Value `json:"result"`
		}
		if err := json.Unmarshal(data, &got); err != nil || string(got.Result) != tt.result {
			t.Errorf("%.40q: the result is %.40q, want %.40q (%v)", tt.body, got.Result, tt.result, err)
		}
		if o, err := contract.DecodeOutcome(data); err != nil || o.Status != contract.StatusOK {
			t.Errorf("%.40q: the ingress reads %+v, %v", tt.body, o, err)
		}
	}
	for name, result := range map[string]any{
		"not a number": math.NaN(), "not JSON": json.RawMessage("{"), "empty": json.RawMessage{},
		"twice": struct{ Raw json.RawMessage }{json.RawMessage(`{"a":1,"a":2}`)},
	} {
		if _, err := outcomeOf(t, result); !errors.As(err, new(*resultError)) {
			t.Errorf("%s: error %v, want a resultError", name, err)
		}
	}
}

// F12: a result that cannot be sent is told as an error with its reason, once, and its message is not handled again.
func TestF12RefusedResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ran := 0
	_, err := b.nc.Subscribe("handlers.command.twice", func(m *nats.Msg) {
		ran++
		_ = m.Respond([]byte(`{"a":1,"a":2}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	b.handlers.Command("half", func(context.Context, *Message) (any, error) { return json.RawMessage(`{"text":"\ud83d"}`), nil })
	b.start()
	o := b.outcome(b.publish("commands.interaction", command("c", "twice", "e1")))
	if o.Status != contract.StatusError || o.Error.Code != http.StatusBadGateway || !strings.Contains(o.Error.Message, `member "a" is twice`) {
		t.Errorf("outcome %+v, error %+v", o, o.Error)
	}
	testserver.Eventually(t, "the message is done", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	if n := b.deadLetters("*"); n != 0 || ran != 1 {
		t.Errorf("%d dead letters, the handler ran %d times; want none and one", n, ran)
	}
	o = b.outcome(b.publish("commands.interaction", command("c", "half", "e2")))
	if o.Status != contract.StatusOK || string(o.Result) != `{"text":"`+"\uFFFD"+`"}` {
		t.Errorf("half a surrogate pair: %+v", o)
	}
}

// FuzzResult holds the worker's results against the ingress: whatever a handler answers, the published outcome is
// strict JSON that the ingress reads as the worker meant it.
func FuzzResult(f *testing.F) {
	for _, body := range []string{
		`{"text":"\ud83d"}`, `{"a":1,"a":2}`, `{"\ud83d":1,"\ud83e":2}`, "\xff", `"\u2028<&>"`, `[1e400,-0,""]`, ``, ` null `, "{\"a\":\"\xed\xa0\x80\"}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		body = body[:min(len(body), 4<<10)]
		for _, result := range []func() (json.RawMessage, error){
			func() (json.RawMessage, error) { return replyResult(body) },
			func() (json.RawMessage, error) { return encodeResult(json.RawMessage(body)) },
		} {
			text, err := result()
			data, err := published(t, text, err)
			want := contract.StatusOK
			if err != nil {
				want = contract.StatusError
			}
			if o, err := contract.DecodeOutcome(data); err != nil || o.Status != want || !jsontext.Value(data).IsValid() {
				t.Fatalf("%q is published as %q, which the ingress reads as %+v, %v", body, data, o, err)
			}
		}
	})
}
