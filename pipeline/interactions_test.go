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
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/rest"
)

// interactionBundle is a bundle whose worker answers the interactions of a fake Discord.
type interactionBundle struct {
	*bundle
	fake *fakediscord.Server
}

func setupInteractions(t *testing.T) *interactionBundle {
	t.Helper()
	b := &interactionBundle{bundle: setup(t), fake: fakediscord.New(fakediscord.Options{})}
	url, err := b.fake.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.fake.Close(); err != nil {
			t.Error(err)
		}
	})
	b.options = func(o *Options) {
		client, err := rest.New(rest.Options{BaseURL: url, Redis: b.rdb, Health: b.limits.Health(), Logger: o.Logger, Registerer: o.Registerer})
		if err != nil {
			t.Fatal(err)
		}
		o.Discord = &DiscordOptions{Client: client}
	}
	return b
}

// issue makes an interaction, and the message that a gateway makes of it.
func (b *interactionBundle) issue(i fakediscord.Interaction) (id string, body []byte) {
	b.t.Helper()
	issued := b.fake.Issue(i)
	parsed, err := discord.Parse(issued.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if body, err = parsed.Envelope(); err != nil {
		b.t.Fatal(err)
	}
	return issued.ID, body
}

// gateway stores an interaction as a gateway does.
func (b *interactionBundle) gateway(i fakediscord.Interaction) (id string) {
	b.t.Helper()
	id, body := b.issue(i)
	if _, err := b.js.Publish(b.t.Context(), "commands.interaction", body); err != nil {
		b.t.Fatal(err)
	}
	return id
}

// endpoint stores an interaction as the HTTP endpoint does. Each answer that it is offered gets the next of the replies;
// what it was offered is returned.
func (b *interactionBundle) endpoint(i fakediscord.Interaction, replies ...string) (id string, offered <-chan string) {
	b.t.Helper()
	id, body := b.issue(i)
	inbox, texts := b.nc.NewRespInbox(), make(chan string, 100)
	var taken atomic.Int64
	sub, err := b.nc.Subscribe(inbox, func(m *nats.Msg) {
		texts <- string(m.Data)
		if n := int(taken.Add(1)); n <= len(replies) && replies[n-1] != "" {
			if err := m.Respond([]byte(replies[n-1])); err != nil {
				b.t.Error(err)
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = sub.Unsubscribe() })
	m := nats.NewMsg("commands.interaction")
	m.Data = body
	m.Header[contract.HeaderReplyTo] = []string{inbox}
	m.Header[contract.HeaderAnswer] = []string{contract.AnswerDiscord}
	m.Header[contract.HeaderWait] = []string{"60000"}
	if _, err := b.js.PublishMsg(b.t.Context(), m); err != nil {
		b.t.Fatal(err)
	}
	return id, texts
}

// said returns what Discord was told of an interaction, once that is so much.
func (b *interactionBundle) said(id string, n int) (said []string) {
	b.t.Helper()
	testserver.Eventually(b.t, "Discord is told of the interaction", func() bool {
		h, _ := b.fake.History(id)
		return len(h.Events) >= n
	})
	h, _ := b.fake.History(id)
	for _, e := range h.Events {
		var m struct{ Content string }
		if err := json.Unmarshal(e.Body, &m); err != nil {
			b.t.Fatal(err)
		}
		said = append(said, string(e.Kind)+" "+m.Content)
	}
	return said
}

// ended waits until no interaction and no answer is left.
func (b *interactionBundle) ended() {
	b.t.Helper()
	testserver.Eventually(b.t, "all is acknowledged", func() bool {
		return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 && b.left(contract.StreamAnswers, contract.ConsumerAnswer) == 0
	})
}

func pong(context.Context, *Message) (any, error) { return "pong", nil }

// ping is a command of guild 1.
func ping() fakediscord.Interaction { return fakediscord.Slash("ping").In("1", "2") }

// TestAnswerInline: an answer that the request takes costs Discord no call.
func TestAnswerInline(t *testing.T) {
	b := setupInteractions(t)
	b.handlers.Command("ping", pong)
	b.start()
	_, offered := b.endpoint(ping(), contract.TakenInline)
	if got := <-offered; !strings.Contains(got, `"type":4`) || !strings.Contains(got, `"content":"pong"`) {
		t.Errorf("offered %s", got)
	}
	b.ended()
	if calls := b.fake.Totals().Calls(); calls != 0 {
		t.Errorf("%d calls of Discord, want 0", calls)
	}
}

// A user of a command that nothing handles is told so, and not that something went wrong.
func TestNothingHandlesIt(t *testing.T) {
	t.Parallel()
	d := &delivery{disposition: disposition{status: contract.StatusError, errorType: errorNoHandler, failure: &contract.Error{Code: 502}}}
	r, refusal := responseTo(d, &discord.Words{Type: discord.Command, Locale: "de"})
	if got := string(r.Inline()); refusal || !strings.Contains(got, "Diesen Befehl beantwortet gerade niemand.") {
		t.Errorf("the response is %s, a refusal: %t", got, refusal)
	}
}

// TestAnswerNotTaken: an answer that the request does not take reaches Discord by REST.
func TestAnswerNotTaken(t *testing.T) {
	for name, reply := range map[string]string{
		"the client is gone":          contract.TakenNot,
		"the process does not answer": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupInteractions(t)
			b.handlers.Command("ping", pong)
			b.start()
			i := ping()
			i.Created = time.Now().Add(testserver.Patience) // so that it is young, however slow the machine is
			id, _ := b.endpoint(i, reply)
			if diff := cmp.Diff([]string{"callback pong"}, b.said(id, 1)); diff != "" {
				t.Errorf("Discord was told (-want +got)\n%s", diff)
			}
			b.ended()
		})
	}
}

// TestGateway: an interaction that a gateway brings is answered by REST, whatever became of it.
func TestGateway(t *testing.T) {
	b := setupInteractions(t)
	b.handlers.Command("ping", pong)
	b.handlers.Command("no", func(context.Context, *Message) (any, error) { return nil, Permanent(403, "Not for you.") })
	b.handlers.Command("broken", func(context.Context, *Message) (any, error) { return nil, errors.New("a secret") })
	b.start()
	for name, want := range map[string]string{"ping": "pong", "no": "Not for you.", "broken": ""} {
		id := b.gateway(fakediscord.Slash(name).In("1", "2"))
		got := b.said(id, 1)
		if len(got) != 1 || !strings.Contains(got[0], want) || strings.Contains(got[0], "secret") {
			t.Errorf("%s: Discord was told %q", name, got)
		}
	}
	b.ended()
}

// TestAnswerTooLarge: an answer that NATS does not carry is an error to the user, and not silence.
func TestAnswerTooLarge(t *testing.T) {
	t.Parallel()
	b := setupInteractions(t)
	large := map[string]any{"components": []string{strings.Repeat("x", int(b.nc.MaxPayload()))}}
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return large, nil })
	b.start()
	i := ping()
	i.Created = time.Now().Add(testserver.Patience)
	if got := b.said(b.gateway(i), 1); len(got) != 1 || !strings.Contains(got[0], "went wrong") {
		t.Errorf("Discord was told %q", got)
	}
	b.ended()
}

// TestSenderAnswers: a sender that waits for the outcome gets it, and answers Discord by itself.
func TestSenderAnswers(t *testing.T) {
	b := setupInteractions(t)
	b.handlers.Command("ping", pong)
	b.start()
	_, body := b.issue(ping())
	if o := b.outcome(b.publish("commands.interaction", body)); string(o.Result) != `"pong"` {
		t.Errorf("the result is %s", o.Result)
	}
	b.ended()
	if calls := b.fake.Totals().Calls(); calls != 0 {
		t.Errorf("%d calls of Discord, want 0", calls)
	}
}

// TestRefusalsOfAGateway: of a flood over the limit, few refusals are sent, and every answer is.
func TestRefusalsOfAGateway(t *testing.T) {
	b := setupInteractions(t)
	b.handlers.Command("ping", pong)
	b.start()
	const sent, limit = 60, 10
	for range sent {
		b.gateway(ping())
	}
	b.ended()
	testserver.Eventually(t, "all are counted", func() bool {
		return b.commands("success") == limit && b.commands("rate_limited") == sent-limit
	})
	if got := b.counted("arrakis_discord_answers_total", "result", "sent"); got < limit || got > limit+15 {
		t.Errorf("%v answers were sent, want at least the %d that were allowed, and besides them no more than refusals may take of a channel", got, limit)
	}
}
