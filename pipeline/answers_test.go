package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

// TestAnswerWithoutToken: Discord is not asked with a token that was taken out, which would count towards its ban.
func TestAnswerWithoutToken(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(discord.Answer{Target: discord.Target{InteractionID: "1", Token: "a-token"}, Way: discord.Edit})
	if err != nil {
		t.Fatal(err)
	}
	x := &interactions{} // has no client
	_, err = x.sendAnswer(t.Context(), &Message{Envelope: contract.Envelope{Data: discord.Redact(data)}})
	if refused, ok := errors.AsType[*HandlerError](err); !ok || refused.Code != 400 {
		t.Errorf("%v, want a 400", err)
	}
}

// TestAnswerAfterFaults: an answer that Discord does not take at first is sent again, and the interaction is handled once.
func TestAnswerAfterFaults(t *testing.T) {
	b := setupInteractions(t)
	var handled atomic.Int64
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { handled.Add(1); return "pong", nil })
	answering := b.options
	b.options = func(o *Options) { answering(o); o.MaxAttempts = 1 }
	b.start()
	b.fake.Fail(2, fakediscord.Status(503)) // no attempts: Discord is away
	b.fake.Fail(1, fakediscord.RateLimited(fakediscord.ScopeUser, 10*time.Millisecond))
	i := ping()
	i.Created = time.Now().Add(testserver.Patience)
	id := b.gateway(i)
	if diff := cmp.Diff([]string{"callback pong"}, b.said(id, 1)); diff != "" {
		t.Errorf("Discord was told (-want +got)\n%s", diff)
	}
	b.ended()
	if n := handled.Load(); n != 1 {
		t.Errorf("handled %d times, want once", n)
	}
}

// TestFollowUpThatFails: a follow-up, which may have been sent all the same, has no more attempts than other messages.
func TestFollowUpThatFails(t *testing.T) {
	t.Parallel()
	b := setupInteractions(t)
	answering := b.options
	b.options = func(o *Options) { answering(o); o.MaxAttempts = 2 }
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) { return "pong", m.FollowUp("more") })
	b.start()
	b.fake.Fail(1, fakediscord.Slow(0)) // of the answer nothing fails
	b.fake.Fail(2, fakediscord.Fault{Cut: fakediscord.CutAfter})
	i := ping()
	i.Created = time.Now().Add(testserver.Patience)
	id := b.gateway(i)
	testserver.Eventually(t, "the follow-up is given up", func() bool { return b.deadLetters(contract.ReasonAttemptsExhausted) == 1 })
	b.ended()
	if diff := cmp.Diff([]string{"callback pong", "followup more", "followup more"}, b.said(id, 3)); diff != "" {
		t.Errorf("Discord was told (-want +got)\n%s", diff)
	}
}

// TestAnswerRefusedByDiscord: the user of an answer that Discord does not like is told that something went wrong.
func TestAnswerRefusedByDiscord(t *testing.T) {
	b := setupInteractions(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) {
		return map[string]any{"embeds": []any{map[string]any{"title": strings.Repeat("x", 300)}}}, nil
	})
	b.start()
	for _, status := range []int{400, 413} {
		b.fake.Fail(1, fakediscord.Status(status))
		i := ping()
		i.Created = time.Now().Add(testserver.Patience)
		id := b.gateway(i)
		said := b.said(id, 1)
		if len(said) != 1 || !strings.HasPrefix(said[0], "callback ") || !strings.Contains(said[0], id) {
			t.Errorf("after a %d, Discord was told %q, want an error with the number %s", status, said, id)
		}
	}
	b.ended()
}

// TestLateModalOfAGateway: a modal that is not the first answer is an error to the user, and not silence.
func TestLateModalOfAGateway(t *testing.T) {
	t.Parallel()
	b := setupInteractions(t)
	shown := make(chan struct{})
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		if err := m.Progress("half"); err != nil { // it is the first answer
			return nil, err
		}
		<-shown
		return map[string]any{"type": 9, "data": map[string]any{"custom_id": "m", "title": "M", "components": []any{map[string]any{"type": 1}}}}, nil
	})
	b.start()
	i := ping()
	i.Created = time.Now().Add(testserver.Patience)
	id := b.gateway(i)
	b.said(id, 1)
	close(shown)
	if got := b.said(id, 2); len(got) != 2 || !strings.HasPrefix(got[1], "edit ") || !strings.Contains(got[1], "went wrong") {
		t.Errorf("Discord was told %q", got)
	}
	b.ended()
}
