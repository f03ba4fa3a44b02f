package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/api"
)

// An answer and its follow-ups are sent one by one, each by one call.
func TestAnswerWithFollowUps(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		w := newWorld(t, addr)
		next := w.sends(edit(w.deferred("1"), "two", "three"))
		w.wantShown("1", "answer")
		next = w.sends(next)
		w.wantShown("1", "answer", "two")
		if next = w.sends(next); next != nil {
			t.Errorf("after the last there is %+v", next)
		}
		w.wantShown("1", "answer", "two", "three")
		w.wantCounted(map[string]float64{"edit sent": 1, "followup sent": 2})
		if n := w.fake.Totals().Authorized; n != 0 {
			t.Errorf("%d calls had an Authorization header", n)
		}
	})
}

var modal = discord.Response{Type: discord.ResponseModal, Data: []byte(`{"custom_id":"m","title":"M","components":[{"type":1}]}`)}

func TestWays(t *testing.T) {
	t.Parallel()
	old := fakediscord.Slash("ping")
	old.Created = time.Now().Add(-2 * firstAnswer)
	for _, tt := range []struct {
		name        string
		interaction fakediscord.Interaction
		first       string // what was answered before; "" for nothing
		response    discord.Response
		shown       []string // by the channel, then
		counted     string
		calls       int // in all
	}{
		{"nobody has answered", fakediscord.Slash("ping"), "", message("answer"), []string{"answer"}, "callback sent", 1},
		{"deferred", fakediscord.Slash("ping"), `{"type":5}`, message("answer"), []string{"answer"}, "edit sent", 3},
		{"deferred a while ago", old, `{"type":5}`, message("answer"), []string{"answer"}, "edit sent", 2},
		{"update", fakediscord.Press("7", "b"), `{"type":6}`, discord.Response{Type: discord.ResponseUpdate, Data: []byte(`{"content":"x"}`)}, nil, "edit sent", 3},
		{"message after a component", fakediscord.Press("7", "b"), `{"type":6}`, message("error"), []string{"error"}, "followup sent", 3},
		{"modal", fakediscord.Slash("ping"), "", modal, nil, "callback sent", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testserver.Miniredis(t).Addr())
			target := w.interaction(tt.interaction, "1")
			if tt.first != "" {
				w.answerWith(&target, tt.first)
			}
			w.sends(&discord.Answer{Target: target, Way: discord.Callback, Response: tt.response})
			w.wantShown("1", tt.shown...)
			w.wantCounted(map[string]float64{tt.counted: 1})
			if n := w.fake.Totals().Calls(); n != tt.calls {
				t.Errorf("%d calls, want %d", n, tt.calls)
			}
		})
	}
}

// A modal that is not the first answer is not sent, and whoever made it learns so: the user still waits.
func TestLateModal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	_, err := w.Send(t.Context(), &discord.Answer{Target: w.deferred("1"), Way: discord.Callback, Response: modal})
	if !errors.As(err, new(*RefusedError)) {
		t.Errorf("%v, want a RefusedError", err)
	}
	w.wantShown("1", "")
	w.wantCounted(map[string]float64{"edit refused": 1})
}

// The flags of a message that cannot be edited are not sent with an edit.
func TestEditLeavesFlagsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	target := w.deferred("1")
	w.sends(&discord.Answer{Target: target, Way: discord.Edit, Response: discord.Response{Type: 4, Data: []byte(`{"content":"x","flags":64}`)}})
	h, _ := w.fake.History(target.InteractionID)
	if got := string(h.Events[len(h.Events)-1].Body); got != `{"components":null,"content":"x","embeds":null}` {
		t.Errorf("sent %s, want no flags, and nothing left of what was there", got)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	answer := func(status, code int) error { return &api.Error{Status: status, Code: code} }
	limited := &api.Error{Status: 429, Limited: &api.Limited{Scope: api.Shared, After: time.Second}}
	broken := errors.New("cut")
	for _, tt := range []struct {
		err     error
		age     time.Duration
		refusal bool
		result  result
		want    error
	}{
		{nil, 0, false, sent, nil},
		{broken, 0, false, failed, broken},
		{broken, 0, true, failed, broken},
		{answer(500, 0), 0, false, failed, answer(500, 0)},
		{answer(408, 0), 0, false, failed, answer(408, 0)},
		{&LaterError{time.Second, "r"}, 0, false, later, &LaterError{time.Second, "r"}},
		{&LaterError{time.Second, "r"}, 0, true, dropped, nil},
		{limited, 0, false, later, &LaterError{time.Second, "Discord limits calls of this channel"}},
		{limited, 0, true, dropped, nil},
		{answer(404, 10062), settling - 1, false, later, &LaterError{settlingPause, "Discord does not know the interaction's first answer yet"}},
		{answer(404, 10015), 0, true, later, &LaterError{settlingPause, "Discord does not know the interaction's first answer yet"}},
		{answer(404, 10062), settling, false, expired, nil},
		{answer(404, 10015), settling, false, expired, nil},
		{answer(404, 10008), settling, false, expired, nil},
		{answer(401, 50027), 0, false, expired, nil},
		{answer(401, 0), 0, false, refused, &RefusedError{"Discord refuses the answer to an interaction", &api.Error{Status: 401}}},
		{answer(404, 0), 0, false, refused, &RefusedError{"Discord refuses the answer to an interaction", &api.Error{Status: 404}}},
		{answer(400, 50035), 0, true, refused, &RefusedError{"Discord refuses the answer to an interaction", &api.Error{Status: 400, Code: 50035}}},
	} {
		r, err := judge(tt.err, tt.age, tt.refusal)
		same := err == nil && tt.want == nil || err != nil && tt.want != nil && err.Error() == tt.want.Error()
		if r != tt.result || !same {
			t.Errorf("%v at %v, refusal %t: %s, %v; want %s, %v", tt.err, tt.age, tt.refusal, r, err, tt.result, tt.want)
		}
	}
}

// Nobody is asked about an answer that cannot be sent.
func TestNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	good := w.deferred("1")
	before := w.fake.Totals()
	for name, change := range map[string]func(*discord.Answer){
		"interaction ID": func(a *discord.Answer) { a.InteractionID = "x" },
		"the future":     func(a *discord.Answer) { a.InteractionID = "18446744073709551615" },
		"no token":       func(a *discord.Answer) { a.Token = "" },
		"token":          func(a *discord.Answer) { a.Token = ".." },
		"application ID": func(a *discord.Answer) { a.ApplicationID = "1/2" },
		"way":            func(a *discord.Answer) { a.Way = "other" },
	} {
		a := edit(good)
		change(a)
		var r *RefusedError
		if _, err := w.Send(t.Context(), a); !errors.As(err, &r) || r.Err != nil {
			t.Errorf("%s: %v, want a RefusedError without an answer of Discord", name, err)
		}
	}
	old := fakediscord.Slash("ping")
	old.Created = time.Now().Add(-discord.Lifetime)
	if next := w.sends(edit(w.interaction(old, "1"), "more")); next != nil {
		t.Errorf("an expired answer is followed by %+v", next)
	}
	before.Issued++
	before.Lost++ // the old one
	if d := cmp.Diff(before, w.fake.Totals()); d != "" {
		t.Errorf("Discord was asked (-want +got):\n%s", d)
	}
	w.wantCounted(map[string]float64{"edit refused": 5, "unknown refused": 1, "edit expired": 1})

	nameless := good
	nameless.ApplicationID = ""
	w.sends(edit(nameless)) // the settings know the application
}

// What Discord says of a message that it refuses is for whoever made it.
func TestRefusedMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	a := edit(w.deferred("1"), "more")
	a.Response = message(strings.Repeat("x", 2_001))
	_, err := w.Send(t.Context(), a)
	var answer *api.Error
	if !errors.As(err, new(*RefusedError)) || !errors.As(err, &answer) || answer.Status != http.StatusBadRequest || !strings.Contains(err.Error(), "content: Must be 2000") {
		t.Errorf("%v, want a RefusedError with the field", err)
	}
}

// An edit may reach Discord before the deferral has: it is tried again.
func TestEditBeforeItsDeferral(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	target := w.interaction(fakediscord.Slash("ping"), "1")
	w.later(edit(target), "first answer yet")
}

// No token is in what people and programs read, whatever goes wrong.
func TestTokensAreSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	var seen strings.Builder
	var tokens []string
	strange := w.deferred("9")
	strange.Token = "a token of another form/+%"
	tokens = append(tokens, strange.Token, url.PathEscape(strange.Token))
	w.fake.Fail(1, fakediscord.Fault{Status: 400, Message: strange.Token + url.PathEscape(strange.Token)})
	if _, err := w.Send(t.Context(), edit(strange)); err != nil {
		seen.WriteString(err.Error())
	}
	for n, f := range []fakediscord.Fault{
		fakediscord.RateLimited(fakediscord.ScopeUser, time.Second), fakediscord.RateLimited(fakediscord.ScopeShared, time.Second),
		fakediscord.UnknownWebhook(), fakediscord.InvalidToken(), fakediscord.Status(500), fakediscord.Status(400),
		{Cut: fakediscord.CutBefore},
		fakediscord.RateLimited(fakediscord.ScopeGlobal, time.Minute),
	} {
		target := w.deferred(string(rune('1' + n)))
		tokens = append(tokens, target.Token)
		f.Message += " for " + target.Token // a proxy may say the URL
		w.fake.Fail(1, f)
		if _, err := w.Send(t.Context(), edit(target)); err != nil {
			seen.WriteString(err.Error())
		}
	}
	target := w.interaction(fakediscord.Slash("ping"), "a")
	tokens = append(tokens, target.Token)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Send(ctx, edit(target))
	if !errors.Is(err, context.Canceled) && !errors.As(err, new(*LaterError)) {
		t.Errorf("%v, want the context's error, or a LaterError", err)
	}
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		seen.WriteString(f.String())
	}
	seen.WriteString(w.log.String())
	for _, token := range tokens {
		if strings.Contains(seen.String(), token) {
			t.Errorf("the token %s is in:\n%s", token, seen.String())
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("a Client without Redis is made")
	}
}
