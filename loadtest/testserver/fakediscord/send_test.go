package fakediscord_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

func TestInlineAnswers(t *testing.T) {
	t.Parallel()
	press, submit, complete := fakediscord.Press("1", "b"), fakediscord.Submit("m"), fakediscord.Complete("c", "o", "x")
	for _, tt := range []struct {
		name        string
		interaction fakediscord.Interaction
		answer      string
		rule        string // part of the rule that is broken; "" if none is
	}{
		{"message", fakediscord.Slash("ping"), `{"type":4,"data":{"content":"pong"}}`, ""},
		{"modal", fakediscord.Slash("ping"), `{"type":9,"data":{"custom_id":"m","title":"M","components":[{"type":1}]}}`, ""},
		{"deferral", fakediscord.Slash("ping"), `{"type":5,"data":{"flags":64}}`, ""},
		{"update", press, `{"type":7,"data":{"content":"x"}}`, ""},
		{"deferred update", press, `{"type":6}`, ""},
		{"answer of a modal", submit, `{"type":4,"data":{"content":"x"}}`, ""},
		{"choices", complete, `{"type":8,"data":{"choices":[]}}`, ""},

		{"update of a command", fakediscord.Slash("ping"), `{"type":7,"data":{"content":"x"}}`, "type 7"},
		{"deferred update of a command", fakediscord.Slash("ping"), `{"type":6}`, "type 6"},
		{"modal after a modal", submit, `{"type":9}`, "type 9"},
		{"deferred choices", complete, `{"type":5}`, "type 5"},
		{"too many choices", complete, `{"type":8,"data":{"choices":[` + strings.Repeat("{},", 25) + `{}]}}`, "25 or fewer"},
		{"modal without title", press, `{"type":9,"data":{"custom_id":"m","components":[{}]}}`, "title"},
		{"empty message", fakediscord.Slash("ping"), `{"type":4,"data":{"content":""}}`, "empty message"},
		{"long message", fakediscord.Slash("ping"), `{"type":4,"data":{"content":"` + strings.Repeat("😀", 1001) + `"}}`, "2000 or fewer"},
		{"too many embeds", press, `{"type":7,"data":{"embeds":[` + strings.Repeat("{},", 10) + `{}]}}`, "10 or fewer"},
		{"deferral with other flags", fakediscord.Slash("ping"), `{"type":5,"data":{"flags":4}}`, "EPHEMERAL"},
		{"deferral with a message", press, `{"type":6,"data":{"content":"x"}}`, "no message"},
		{"no JSON", fakediscord.Slash("ping"), `pong`, "no JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, fakediscord.Options{})
			sent, err := w.Send(t.Context(), w.endpoint(reply(tt.answer)), tt.interaction)
			if tt.rule == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var rule *fakediscord.RuleError
			if !errors.As(err, &rule) || !strings.Contains(rule.Rule, tt.rule) {
				t.Fatalf("%v, want a RuleError with %q", err, tt.rule)
			}
			want(t, "a callback after that", w.callback(sent.Issued, `{"type":4,"data":{"content":"x"}}`), [2]int{404, 10062})
			want(t, "lost", w.Totals().Lost, 1)
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		rule   string
		time   time.Duration
	}{
		"too late": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "within 10ms", 10 * time.Millisecond},
		"status":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "status 500", 0},
		"type": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"type":5}`) }, // Discord may be gone
			"Content-Type", 0},
		"accepted with a body": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202); reply("{}")(w, r) }, "202 without a body", 0},
		"redirect":             {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(307) }, "status 307", 0},
		"cut":                  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no answer", 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, fakediscord.Options{AnswerTime: tt.time})
			var rule *fakediscord.RuleError
			_, err := w.Send(t.Context(), w.endpoint(tt.answer), fakediscord.Slash("ping").In("1", "2"))
			if !errors.As(err, &rule) || !strings.Contains(rule.Rule, tt.rule) {
				t.Errorf("%v, want a RuleError with %q", err, tt.rule)
			}
			if m := w.Messages("2"); len(m) != 1 || m[0].Failed == "" {
				t.Errorf("the channel shows %+v, want that the application did not respond", m)
			}
		})
	}
}

// Whoever has taken an interaction may answer it by a callback, also after the connection broke over which it came.
func TestCallbackAfterTheConnectionBroke(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{AnswerTime: time.Minute})
	i := w.Issue(fakediscord.Slash("ping"))
	answered := make(chan [2]int, 1)
	endpoint := w.endpoint(func(http.ResponseWriter, *http.Request) {
		answered <- w.callback(i, `{"type":4,"data":{"content":"pong"}}`)
		panic(http.ErrAbortHandler)
	})
	sent, err := w.Deliver(t.Context(), endpoint, i)
	if err != nil || sent.Status != 0 {
		t.Errorf("status %d, %v; want no answer and no error", sent.Status, err)
	}
	want(t, "the callback", <-answered, [2]int{204, 0})
	want(t, "answered", w.Totals().Callback, 1)
}

func TestProbe(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{Keys: 2})
	endpoint := w.endpoint(reply(`{}`))
	for range 2 {
		if err := w.Probe(t.Context(), endpoint); err != nil {
			t.Error(err)
		}
		w.Rotate()
	}
	careless := httptest.NewServer(reply(`{"type":1}`))
	t.Cleanup(careless.Close)
	err := w.Probe(t.Context(), careless.URL)
	if err == nil || strings.Count(err.Error(), "want 401") != len(fakediscord.BadSignatures)+1 {
		t.Errorf("an endpoint that verifies nothing: %v", err)
	}
	if err := w.ProbeEvents(t.Context(), endpoint); err == nil || strings.Count(err.Error(), "rule") != 1 {
		t.Errorf("an endpoint that answers 200 to events: %v, want one fault", err)
	}
	want(t, "remembered", w.Totals().Issued, 0)
}

// What was prepared is signed for the time that it is due, and known from the time that it is sent.
func TestPrepare(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	due := time.Now().Add(time.Minute)
	p := w.Prepare(fakediscord.Interaction{Name: "ping", Created: due})
	want(t, "issued", w.Totals().Issued, 0)
	signed := make(http.Header)
	w.Sign(signed, p.Body, due)
	sent, err := w.Deliver(t.Context(), w.endpoint(func(rw http.ResponseWriter, r *http.Request) {
		for name := range signed {
			want(t, name, r.Header.Get(name), signed.Get(name))
		}
		reply(`{"type":4,"data":{"content":"pong"}}`)(rw, r)
	}), p)
	want(t, "status", sent.Status, 200)
	want(t, "error", err, nil)
	want(t, "answered", w.Totals().Inline, 1)
}
