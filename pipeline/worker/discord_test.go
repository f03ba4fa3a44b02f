package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline"
)

// discordBed is a worker that serves a fake Discord and answers it.
type discordBed struct {
	t        *testing.T
	fake     *fakediscord.Server
	endpoint string
	log      *testserver.Output
}

// newDiscordBed starts both. answerTime is how long an answer is waited for before it is deferred; 0 is the default.
func newDiscordBed(t *testing.T, handlers *pipeline.Handlers, answerTime time.Duration) *discordBed {
	t.Helper()
	b := &discordBed{t: t, fake: fakediscord.New(fakediscord.Options{AnswerTime: testserver.Patience}), log: new(testserver.Output)}
	api, err := b.fake.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.fake.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.endpoint = "http://" + l.Addr().String() + "/discord/interactions"
	w := newWorker(t, Options{
		HTTP: l, Handlers: handlers, Discord: DiscordOptions{PublicKeys: []string{b.fake.PublicKey()}, APIURL: api, AnswerTime: answerTime},
		MaxAttempts: 1, Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	w.runReady(t)
	testserver.Succeeds(t, "Discord accepts the endpoint", func() error { return b.fake.Probe(t.Context(), b.endpoint) })
	return b
}

// send sends an interaction and returns the inline answer.
func (b *discordBed) send(i fakediscord.Interaction) fakediscord.Sent {
	b.t.Helper()
	s, err := b.fake.Send(b.t.Context(), b.endpoint, i)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// content is the content of a message, and whether it is ephemeral.
func content(t *testing.T, message json.RawMessage) string {
	t.Helper()
	var m struct {
		Content string
		Flags   int
	}
	if err := json.Unmarshal(message, &m); err != nil {
		t.Fatalf("%s: %v", message, err)
	}
	if m.Flags&64 != 0 {
		return "(only you) " + m.Content
	}
	return m.Content
}

// then waits until n things were said of an interaction, and returns them.
func (b *discordBed) then(id string, n int) (said []string) {
	b.t.Helper()
	testserver.Eventually(b.t, "Discord is told the answer", func() bool {
		h, _ := b.fake.History(id)
		return len(h.Events) >= n
	})
	h, _ := b.fake.History(id)
	for _, e := range h.Events {
		text := ""
		if len(e.Body) > 0 {
			text = content(b.t, e.Body)
		}
		said = append(said, strings.TrimSpace(fmt.Sprintf("%s %d %s", e.Kind, e.Type, text)))
	}
	return said
}

// TestDiscordInline: what is known in time is the response itself, and an error tells users nothing that it should not.
func TestDiscordInline(t *testing.T) {
	h := pipeline.NewHandlers()
	h.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return "pong", nil })
	h.Command("error", func(context.Context, *pipeline.Message) (any, error) { return nil, errors.New("a secret") })
	h.Command("no", func(context.Context, *pipeline.Message) (any, error) {
		return nil, pipeline.Permanent(403, "Not for you.")
	})
	h.Command("form", func(context.Context, *pipeline.Message) (any, error) {
		return map[string]any{"type": 9, "data": map[string]any{"custom_id": "form", "title": "A form", "components": []any{
			map[string]any{"type": 1, "components": []any{map[string]any{"type": 4, "custom_id": "name", "style": 1, "label": "Name"}}},
		}}}, nil
	})
	b := newDiscordBed(t, h, testserver.Patience)
	if got := b.send(fakediscord.Slash("ping").In("1", "2")); got.Response.Type != 4 || content(t, got.Response.Data) != "pong" {
		t.Errorf("ping is answered %d %s", got.Response.Type, got.Response.Data)
	}
	if got := b.send(fakediscord.Slash("form").In("1", "2")); got.Response.Type != 9 {
		t.Errorf("form is answered %d %s", got.Response.Type, got.Response.Data)
	}
	if got := b.send(fakediscord.Slash("no").In("1", "2")); content(t, got.Response.Data) != "(only you) Not for you." {
		t.Errorf("what the handler refuses is answered %s", got.Response.Data)
	}
	got := b.send(fakediscord.Slash("error").In("1", "2"))
	if text := content(t, got.Response.Data); !strings.HasPrefix(text, "(only you)") || strings.Contains(text, "secret") {
		t.Errorf("a failure is answered %q", text)
	}
	if log := b.log.String(); strings.Contains(log, got.Token) || !strings.Contains(log, "a secret") {
		t.Error("the log has a token, or lacks the handler's error")
	}
}

// TestDiscordLate: what takes longer is deferred, and answered by REST. An error does not replace a component's message.
func TestDiscordLate(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := pipeline.NewHandlers()
	h.Command("slow", func(context.Context, *pipeline.Message) (any, error) { <-release; return "at last", nil })
	h.Command("slow-error", func(_ context.Context, m *pipeline.Message) (any, error) {
		<-release
		return nil, fmt.Errorf("a secret: %s", m.Data)
	})
	b := newDiscordBed(t, h, 0)
	slow, slowButton, failing := b.send(fakediscord.Slash("slow").In("1", "2")), b.send(fakediscord.Press("77", "slow:1").In("1", "3")),
		b.send(fakediscord.Press("77", "slow-error").In("1", "4"))
	if slow.Response.Type != 5 || slowButton.Response.Type != 6 || failing.Response.Type != 6 {
		t.Errorf("deferred with types %d, %d and %d, want 5, 6 and 6", slow.Response.Type, slowButton.Response.Type, failing.Response.Type)
	}
	close(release)
	if diff := cmp.Diff([]string{"inline 5", "edit 0 at last"}, b.then(slow.ID, 2)); diff != "" {
		t.Errorf("a slow command (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"inline 6", "edit 0 at last"}, b.then(slowButton.ID, 2)); diff != "" {
		t.Errorf("a slow button (-want +got)\n%s", diff)
	}
	if said := b.then(failing.ID, 2); !strings.HasPrefix(said[1], "followup 0 (only you)") || strings.Contains(said[1], "secret") {
		t.Errorf("a button that fails late: %q: want a message that only the user sees", said)
	}
	if log := b.log.String(); strings.Contains(log, slow.Token) || strings.Contains(log, failing.Token) || !strings.Contains(log, "a secret") {
		t.Error("the log has a token, or lacks the handler's error")
	}
}

// TestDiscordFlood: what is over the limit is refused inline, in the user's language, without a call of Discord.
func TestDiscordFlood(t *testing.T) {
	h := pipeline.NewHandlers()
	h.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return "pong", nil })
	b := newDiscordBed(t, h, testserver.Patience)
	const sent, limit = 200, 10
	var mu sync.Mutex
	answers := map[string]int{}
	var wg sync.WaitGroup
	for range sent {
		wg.Go(func() {
			i := fakediscord.Slash("ping").In("1", "2")
			i.Locale = "de"
			s, err := b.fake.Send(t.Context(), b.endpoint, i)
			if err != nil {
				t.Error(err)
				return
			}
			text := content(t, s.Response.Data)
			if strings.HasPrefix(text, "(only you)") && strings.Contains(text, "<t:") && strings.Contains(text, "zu viele Befehle") {
				text = "refused"
			}
			mu.Lock()
			defer mu.Unlock()
			answers[text]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[string]int{"pong": limit, "refused": sent - limit}, answers); diff != "" {
		t.Errorf("answers (-want +got)\n%s", diff)
	}
	if calls := b.fake.Totals().Calls(); calls != 0 {
		t.Errorf("%d calls of Discord, want 0", calls)
	}
}
