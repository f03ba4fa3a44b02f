package discord

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

func TestOptions(t *testing.T) {
	_, err := New(Options{Ephemeral: []string{"Ping"}})
	if err == nil {
		t.Fatal("New took bad options")
	}
	for _, field := range []string{"Keys", "Ingress", "NATS", "Ephemeral"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}

// A worker's answer that comes in time is the response, byte for byte, and the worker learns so.
func TestInline(t *testing.T) {
	b := newBed(t, nil)
	type message struct{ ID, Community, Command, Answer, Wait string }
	messages := make(chan message, 1)
	var answer string
	taken := b.answer(t, func(m jetstream.Msg) string {
		e, err := contract.Decode(contract.KindCommand, m.Data())
		if err != nil {
			t.Error(err)
		}
		h := m.Headers()
		if h.Get(jetstream.MsgIDHeader) != e.EventID || h.Get(contract.HeaderRequestID) == "" {
			t.Errorf("the headers are %v", h)
		}
		messages <- message{e.EventID, e.TenantKey, e.Command, h.Get(contract.HeaderAnswer), h.Get(contract.HeaderWait)}
		return answer
	})
	for _, tt := range []struct {
		name        string
		interaction fakediscord.Interaction
		answer      string
		command     string
		community   string
	}{
		{"a command", fakediscord.Slash("ping").In("7", "8"), `{"type":4,"data":{"content":"pong"}}`, "ping", "7"},
		{"a command in a direct message", fakediscord.Slash("ping").By("9", "alia"), `{"type":4,"data":{"content":"pong"}}`, "ping", "user:9"},
		{"a command with a modal", fakediscord.Slash("ask").In("7", "8"), `{"type":9,"data":{"custom_id":"m","title":"T","components":[{"type":18,"label":"L","component":{"type":4,"custom_id":"a","style":1}}]}}`, "ask", "7"},
		{"a button", fakediscord.Press("5", "next:2").In("7", "8"), `{"type":7,"data":{"content":"page 2"}}`, "next", "7"},
		{"a modal", fakediscord.Submit("m:1", fakediscord.Field{CustomID: "a", Value: "b"}).In("7", "8"), `{"type":4,"data":{"content":"thanks"}}`, "m", "7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer = tt.answer
			sent, err := b.fake.Send(t.Context(), b.url+interactionsPath, tt.interaction)
			if err != nil {
				t.Fatal(err)
			}
			if got := compact(sent.Response); got != tt.answer {
				t.Errorf("the response is %s, want %s", got, tt.answer)
			}
			want := message{sent.ID, tt.community, tt.command, contract.AnswerDiscord, "60000"}
			if diff := cmp.Diff(want, <-messages); diff != "" {
				t.Errorf("the message (-want +got)\n%s", diff)
			}
			if got := <-taken; got != contract.TakenInline {
				t.Errorf("the worker was told %q", got)
			}
		})
	}
	b.counted(t, "command", endInline, 3)
	b.counted(t, "component", endInline, 1)
	b.counted(t, "modal", endInline, 1)
}

// An answer that does not come in time is announced, and the worker learns that it is to send it.
func TestDeferred(t *testing.T) {
	b := newBed(t, func(s *settings) { s.Ephemeral = []string{"secret", "press"} })
	b.h.times.answer = defaultTimes.answer
	var all sync.WaitGroup
	for _, tt := range []struct {
		name        string
		interaction fakediscord.Interaction
		want        string
	}{
		{"a command", fakediscord.Slash("ping").In("7", "8"), `{"type":5}`},
		{"a command whose answers only its user sees", fakediscord.Slash("secret").In("7", "8"), `{"type":5,"data":{"flags":64}}`},
		{"a component", fakediscord.Press("5", "press").In("7", "8"), `{"type":6}`},
		{"a modal", fakediscord.Submit("m").In("7", "8"), `{"type":5}`},
	} {
		all.Go(func() {
			sent, err := b.fake.Send(t.Context(), b.url+interactionsPath, tt.interaction)
			if got := compact(sent.Response); err != nil || got != tt.want {
				t.Errorf("%s is answered %s, want %s (%v)", tt.name, got, tt.want, err)
			}
		})
	}
	all.Wait()
	b.counted(t, "command", endDeferred, 2)
	taken := b.answer(t, always(`{"type":4,"data":{"content":"late"}}`))
	for range 4 {
		if got := <-taken; got != contract.TakenLate {
			t.Errorf("the worker was told %q", got)
		}
	}
}

// A request that comes again runs nothing, and does not get the answer: it is told that the answer follows.
func TestRepeated(t *testing.T) {
	b := newBed(t, nil)
	b.answer(t, always(`{"type":4,"data":{"content":"pong"}}`))
	body := string(b.fake.Issue(fakediscord.Slash("ping").In("7", "8")).Body)
	now := time.Now()
	if a := b.post(t, interactionsPath, body, now, nil); a.status != http.StatusOK || !strings.Contains(a.body, "pong") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a := b.post(t, interactionsPath, body, now, nil)
	if a.status != http.StatusOK || a.body != `{"type":5}` {
		t.Errorf("the repetition is answered %d %s", a.status, a.body)
	}
	b.counted(t, "command", endInline, 1)
	b.counted(t, "command", endRepeated, 1)
}

// What cannot be stored is said to the user alone, in the user's language.
func TestRefusedBeforeItIsStored(t *testing.T) {
	const told = `{"type":4,"data":{"allowed_mentions":{"parse":[]},"content":"`
	for _, tt := range []struct {
		name   string
		change func(*settings)
		fail   func(*testing.T, *bed)
		locale string
		want   string // the beginning of the response
	}{
		{"the process ends", nil, func(t *testing.T, b *bed) {
			t.Helper()
			b.stop()
			testserver.Eventually(t, "the ingress drains", func() bool { return !b.running(t) })
		}, "de", told + "Das ist gerade nicht verfügbar."},
		{"the stream is full", func(s *settings) { s.stream.MaxMsgs = 1 }, func(t *testing.T, b *bed) {
			t.Helper()
			if _, err := b.js.Publish(t.Context(), "commands.x", nil); err != nil {
				t.Fatal(err)
			}
		}, "en-US", told + "There is a lot to do right now. Try again <t:"},
		{"the stream is gone", nil, func(t *testing.T, b *bed) {
			t.Helper()
			if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
				t.Fatal(err)
			}
		}, "ja", told + "現在ご利用いただけません。"},
		{"NATS is away", nil, func(t *testing.T, b *bed) {
			t.Helper()
			b.server.Stop()
			testserver.Eventually(t, "the connection is lost", func() bool { return !b.h.o.NATS.IsConnected() })
		}, "tr", told + "This is not available right now."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, tt.change)
			tt.fail(t, b)
			i := fakediscord.Slash("ping").In("7", "8")
			i.Locale = tt.locale
			got := b.send(t, i)
			if !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, `"flags":64}}`) {
				t.Errorf("the response is %s, want %s…", got, tt.want)
			}
			b.counted(t, "command", endRefused, 1)
		})
	}
}

// A community that has all its places in flight is told to come back.
func TestBusy(t *testing.T) {
	b := newBed(t, func(s *settings) { s.ingress.MaxInFlight = 4 }) // one of them is for one community
	held := make(chan string, 1)
	go func() {
		sent, err := b.fake.Send(t.Context(), b.url+interactionsPath, fakediscord.Slash("ping").In("7", "8"))
		if err != nil {
			t.Error(err)
		}
		held <- compact(sent.Response)
	}()
	testserver.Eventually(t, "the first is stored", func() bool { return b.stored(t) == 1 })
	if got := b.send(t, fakediscord.Slash("ping").In("7", "8")); !strings.Contains(got, "There is a lot to do") {
		t.Errorf("the response is %s", got)
	}
	b.answer(t, always(`{"type":4,"data":{"content":"pong"}}`))
	if got := <-held; !strings.Contains(got, "pong") {
		t.Errorf("the first one's response is %s", got)
	}
}

// A worker that does not answer Discord replies with an outcome, of which the response is made here. What is neither
// reaches nobody.
func TestRepliesOfOtherWorkers(t *testing.T) {
	b := newBed(t, nil)
	var reply string
	b.answer(t, func(jetstream.Msg) string { return reply })
	for _, tt := range []struct{ reply, want string }{
		{`{"event_id":"1","community_id":"7","tier":"free","status":"ok","result":"pong"}`, `"content":"pong"`},
		{`{"event_id":"1","community_id":"7","tier":"free","status":"rate_limited","rate_limit":{"action":"command","limit":10,"retry_after_ms":5}}`, "Too many commands"},
		{`{"status":"error","error":{"code":500,"message":"secret"}}`, "Something went wrong"},
		{`{}`, "Something went wrong"},
		{`secret`, "Something went wrong"},
	} {
		reply = tt.reply
		if got := b.send(t, fakediscord.Slash("ping").In("7", "8")); !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
			t.Errorf("%s becomes %s", tt.reply, got)
		}
	}
}

func TestEntitled(t *testing.T) {
	var failure error
	seen := make(chan *discord.Interaction, 1)
	b := newBed(t, func(s *settings) {
		s.Entitled = func(ctx context.Context, i *discord.Interaction) (time.Time, error) {
			if _, ok := ctx.Deadline(); !ok {
				return time.Time{}, errors.New("there is no deadline")
			}
			seen <- i
			return time.UnixMilli(1_700_000_000_123), failure
		}
	})
	headers := make(chan string, 1)
	b.answer(t, func(m jetstream.Msg) string {
		headers <- m.Headers().Get(contract.HeaderTenantSince)
		return `{"type":4,"data":{"content":"pong"}}`
	})
	i := fakediscord.Slash("ping").In("7", "8")
	i.Entitlements = []fakediscord.Entitlement{{ID: "1", SKU: "2", Guild: "7"}}
	b.send(t, i)
	if got, want := (<-seen).Entitlements, []discord.Entitlement{{ID: "1", SKU: "2", GuildID: "7"}}; !cmp.Equal(got, want) {
		t.Errorf("Entitled is told of %v, want %v", got, want)
	}
	if got := <-headers; got != "1700000000123" {
		t.Errorf("the header is %q", got)
	}
	failure = errors.New("redis is away")
	b.send(t, i)
	<-seen
	if got := <-headers; got != "" {
		t.Errorf("after an error, the header is %q", got)
	}
	testserver.Eventually(t, "the error is logged", func() bool { return b.log.Count("redis is away") == 1 })
	b.send(t, fakediscord.Complete("ping", "a", ""))
	select {
	case <-seen:
		t.Error("Entitled is told of an autocomplete")
	default:
	}
}

// No log has a token, whatever becomes of the interaction.
func TestTokensAreNotLogged(t *testing.T) {
	b := newBed(t, func(s *settings) {
		s.Entitled = func(context.Context, *discord.Interaction) (time.Time, error) { return time.Time{}, errors.New("away") }
	})
	b.answer(t, always(`{"type":4,"data":{"content":"pong"}}`))
	var tokens []string
	for _, i := range []fakediscord.Interaction{fakediscord.Slash("ping").In("7", "8"), fakediscord.Complete("ping", "a", "").In("7", "8")} {
		issued := b.fake.Issue(i)
		tokens = append(tokens, issued.Token)
		for range 2 { // the command's second one is a repetition
			b.post(t, interactionsPath, string(issued.Body), time.Now(), nil)
		}
		b.post(t, interactionsPath, strings.Replace(string(issued.Body), `"application_id":"`, `"application_id":"x`, 1), time.Now(), nil)
	}
	b.counted(t, kindUnknown, endMalformed, 2)
	log := b.log.String()
	if n := strings.Count(log, "discord was answered"); n < 5 {
		t.Fatalf("%d requests are logged:\n%s", n, log)
	}
	for _, token := range tokens {
		if strings.Contains(log, token) {
			t.Errorf("a token is in the log:\n%s", log)
		}
	}
}

// TestResponseIsJSON: what Discord reads is JSON also where the worker's answer is not.
func TestResponseIsJSON(t *testing.T) {
	c := &call{requestID: "r"}
	for _, reply := range []string{``, `x`, `{"type":"4"}`, `[]`, `{"type":4}`} {
		if got := c.response(&discord.Words{Type: discord.Command}, []byte(reply)); !json.Valid(got) {
			t.Errorf("%q becomes %s", reply, got)
		}
	}
}

// gone is a client that has left.
func gone(t *testing.T) *http.Request {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return httptest.NewRequestWithContext(ctx, http.MethodPost, interactionsPath, nil)
}

// A worker is not told that a client which has left got its answer; but one that leaves as soon as it has it did.
func TestClientLeaves(t *testing.T) {
	b := newBed(t, nil)
	w := httptest.NewRecorder()
	c := b.h.begin(w, gone(t), kindUnknown)
	if c.respond(endInline, []byte(`{"type":1}`)) || w.Body.Len() > 0 || c.ended != endGone {
		t.Errorf("the client has left, and was answered %s", w.Body)
	}
	taken := b.answer(t, always(`{"type":4,"data":{"content":"pong"}}`))
	for range 100 {
		body := string(b.fake.Issue(fakediscord.Slash("ping").In("7", "8")).Body)
		b.post(t, interactionsPath, body, time.Now(), nil) // which closes its connection
		if got := <-taken; got != contract.TakenInline {
			t.Fatalf("the client has its answer, and the worker was told %q", got)
		}
	}
}
