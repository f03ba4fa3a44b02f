package discord

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/contract"
)

const noChoices = `{"type":8,"data":{"choices":[]}}`

// handle makes a handler of autocomplete for cards.
func (b *bed) handle(t *testing.T, handle nats.MsgHandler) {
	t.Helper()
	if _, err := b.worker.Subscribe("handlers.autocomplete.cards", handle); err != nil {
		t.Fatal(err)
	}
	if err := b.worker.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestAutocomplete(t *testing.T) {
	b := newBed(t, nil)
	b.handle(t, func(m *nats.Msg) {
		e, err := contract.Decode(contract.KindCommand, m.Data)
		if err != nil {
			t.Error(err)
		}
		var d struct {
			Focused string
			Options map[string]string
		}
		if err := json.Unmarshal(e.Data, &d); err != nil || e.Command != "cards" || d.Focused != "name" || d.Options["name"] != "mu" {
			t.Errorf("the handler gets %s (%v)", m.Data, err)
		}
		deadline, err := strconv.ParseInt(m.Header.Get(contract.HeaderDeadline), 10, 64)
		if err != nil || time.UnixMilli(deadline).Before(time.Now()) {
			t.Errorf("the deadline is %d (%v)", deadline, err)
		}
		want := [...]string{"7", e.EventID, "1"}
		if got := [...]string{m.Header.Get(contract.HeaderCommunity), m.Header.Get(contract.HeaderEventID), m.Header.Get(contract.HeaderAttempt)}; got != want {
			t.Errorf("the headers are %v, want %v", got, want)
		}
		_ = m.Respond([]byte(`["muad","dib"]`)) // a failure leaves the request without choices
	})
	want := `{"type":8,"data":{"choices":[{"name":"muad","value":"muad"},{"name":"dib","value":"dib"}]}}`
	if got := b.send(t, fakediscord.Complete("cards", "name", "mu").In("7", "8")); got != want {
		t.Errorf("the response is %s, want %s", got, want)
	}
	b.counted(t, "autocomplete", endChoices, 1)
	if n := b.stored(t); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// Whatever goes wrong, the user who types sees no choices, and no error.
func TestAutocompleteWithoutChoices(t *testing.T) {
	b := newBed(t, nil)
	complete := fakediscord.Complete("cards", "name", "mu").In("7", "8")
	if got := b.send(t, complete); got != noChoices {
		t.Errorf("without a handler: %s", got)
	}
	var reply *nats.Msg // nil: none at all
	b.handle(t, func(m *nats.Msg) {
		if reply != nil {
			_ = m.RespondMsg(reply) // a failure leaves the request without choices
		}
	})
	for name, r := range map[string]*nats.Msg{
		"a handler that fails": {Header: nats.Header{contract.HeaderServiceError: {"x"}, contract.HeaderServiceErrorCode: {"500"}}, Data: []byte(`["a"]`)},
		"no array":             {Data: []byte(`{"choices":[]}`)},
		"no JSON":              {Data: []byte(`a`)},
		"an empty reply":       {},
	} {
		reply = r
		if got := b.send(t, complete); got != noChoices {
			t.Errorf("%s: %s", name, got)
		}
	}
	reply = nil
	b.h.times.choices = 50 * time.Millisecond
	if got := b.send(t, complete); got != noChoices {
		t.Errorf("a handler that is late: %s", got)
	}
	b.counted(t, "autocomplete", endNoChoices, 6)
	b.server.Stop()
	if got := b.send(t, complete); got != noChoices {
		t.Errorf("without NATS: %s", got)
	}
}

func TestTooManyAutocompletes(t *testing.T) {
	b := newBed(t, nil)
	b.handle(t, func(*nats.Msg) { t.Error("a handler is asked") })
	for range MaxCompletions {
		b.h.completions.inFlight <- struct{}{}
	}
	if got := b.send(t, fakediscord.Complete("cards", "name", "mu").In("7", "8")); got != noChoices {
		t.Errorf("the response is %s", got)
	}
	b.counted(t, "autocomplete", endTooMany, 1)
}

// One community has 20 a second, and 40 at once. Others have theirs.
func TestPaceOfACommunity(t *testing.T) {
	c := newCompletions(nil)
	now := time.Now()
	count := func(community string, at time.Time) (n int) {
		for range 100 {
			if c.begin(community, at) {
				n++
				c.end()
			}
		}
		return n
	}
	for _, tt := range []struct {
		community string
		after     time.Duration
		want      int
	}{{"7", 0, 40}, {"7", 0, 0}, {"8", 0, 40}, {"7", time.Second, 20}, {"7", time.Hour, 40}} {
		if got := count(tt.community, now.Add(tt.after)); got != tt.want {
			t.Errorf("after %v, %s may have %d, want %d", tt.after, tt.community, got, tt.want)
		}
	}
	for i := range 2 * maxPaces {
		count(fmt.Sprint("x", i), now)
	}
	if n := c.paces.Len(); n != maxPaces {
		t.Errorf("%d communities are remembered, want %d", n, maxPaces)
	}
}

func TestChoices(t *testing.T) {
	long := strings.Repeat("é", 101)
	for _, tt := range []struct{ name, reply, want string }{
		{"strings", `["a","b"]`, `[{"name":"a","value":"a"},{"name":"b","value":"b"}]`},
		{"numbers", `[1,2.5]`, `[{"name":"1","value":1},{"name":"2.5","value":2.5}]`},
		{"objects", `[{"name":"A","value":"a"},{"name":"One","value":1}]`, `[{"name":"A","value":"a"},{"name":"One","value":1}]`},
		{"an object without a name", `[{"value":"a"}]`, `[{"name":"a","value":"a"}]`},
		{"an object with more", `[{"name":"A","name_localizations":{"de":"Ä"},"value":"a","x":1}]`, `[{"name":"A","name_localizations":{"de":"Ä"},"value":"a"}]`},
		{"none", `[]`, `[]`},
		{"null", `null`, `[]`},
		{"an empty string", `["","a"]`, `[{"name":"a","value":"a"}]`},
		{"an empty value", `[{"name":"none","value":""},"a"]`, `[{"name":"a","value":"a"}]`},
		{"a long name", `[{"name":"` + long + `","value":"a"}]`, `[{"name":"` + strings.Repeat("é", 100) + `","value":"a"}]`},
		{"a long value", `["` + long + `","a"]`, `[{"name":"a","value":"a"}]`},
		{"as long as may be", `["` + long[2:] + `"]`, `[{"name":"` + long[2:] + `","value":"` + long[2:] + `"}]`},
		{"too many", `[` + strings.Repeat(`1,`, 30) + `1]`, `[` + strings.TrimSuffix(strings.Repeat(`{"name":"1","value":1},`, 25), ",") + `]`},
		{"an object", `{}`, ""},
		{"an array of arrays", `[[]]`, ""},
		{"true", `[true]`, ""},
		{"null in an array", `[null]`, ""},
		{"an object without a value", `[{"name":"a"}]`, ""},
		{"a name that is a number", `[{"name":1,"value":1}]`, ""},
		{"nothing", ``, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := choicesOf(&nats.Msg{Data: []byte(tt.reply)})
			if tt.want == "" {
				if err == nil {
					t.Errorf("no error, but %v", found)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := `{"type":8,"data":{"choices":` + tt.want + `}}`
			if diff := cmp.Diff(want, string(choices(found))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What a handler says of its failure is logged, without a token.
func TestFailedChoicesHaveNoToken(t *testing.T) {
	const token = "aW50ZXJhY3Rpb246c2VjcmV0"
	_, err := choicesOf(&nats.Msg{Header: nats.Header{contract.HeaderServiceError: {"no answer from /webhooks/1/" + token}}})
	if err == nil || strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v, want the handler's words without the token", err)
	}
}

// FuzzChoices checks that whatever a handler replies is no choice, or choices that Discord takes.
func FuzzChoices(f *testing.F) {
	for _, reply := range []string{`["a",1]`, `[{"name":"A","value":"a"}]`, `[{"value":1e400}]`, `null`, "[\"\xff\"]"} {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		found, err := choicesOf(&nats.Msg{Data: reply})
		if err != nil {
			return
		}
		var r struct {
			Data struct {
				Choices []struct {
					Name  string
					Value any
				}
			}
		}
		d := json.NewDecoder(strings.NewReader(string(choices(found))))
		d.UseNumber()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%s becomes no JSON: %v", reply, err)
		}
		for _, c := range r.Data.Choices {
			if c.Name == "" || len([]rune(c.Name)) > 100 || c.Value == nil || len([]rune(fmt.Sprint(c.Value))) > 100 {
				t.Fatalf("%s becomes the choice %v", reply, c)
			}
		}
	})
}

// An ingress that drains still answers those who type: nothing of it is stored.
func TestAutocompleteWhileDraining(t *testing.T) {
	b := newBed(t, nil)
	b.handle(t, func(m *nats.Msg) { _ = m.Respond([]byte(`["a"]`)) }) // a failure leaves the request without choices
	b.stop()
	testserver.Eventually(t, "the ingress drains", func() bool { return !b.running(t) })
	if got := b.send(t, fakediscord.Complete("cards", "name", "mu").In("7", "8")); !strings.Contains(got, `"value":"a"`) {
		t.Errorf("the response is %s", got)
	}
}
