package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/discord"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// world is a fake Discord, and a process that sends answers to it.
type world struct {
	tb   testing.TB
	fake *fakediscord.Server
	url  string
	*Client
	log *testserver.Output
	reg *prometheus.Registry
}

// newWorld starts a fake Discord for a process with the Redis at the address.
func newWorld(t *testing.T, redisAddr string) *world {
	t.Helper()
	fake := fakediscord.New(fakediscord.Options{AnswerTime: testserver.Patience})
	url, err := fake.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() }) // nothing is pending
	return (&world{tb: t, fake: fake, url: url}).process(redisAddr)
}

// process is another process that sends answers to the same Discord.
func (w *world) process(redisAddr string) *world {
	w.tb.Helper()
	rdb := testserver.ConnectRedis(w.tb, redisAddr)
	return w.processWith(rdb, redishealth.Options{Timeout: testserver.Patience})
}

func (w *world) processWith(rdb redis.UniversalClient, o redishealth.Options) *world {
	w.tb.Helper()
	health, err := redishealth.New(rdb, o)
	if err != nil {
		w.tb.Fatal(err)
	}
	p := &world{tb: w.tb, fake: w.fake, url: w.url, log: &testserver.Output{}, reg: prometheus.NewRegistry()}
	logger := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.Client, err = New(Options{
		BaseURL: w.url, ApplicationID: w.fake.ApplicationID(), Redis: rdb, Health: health, Logger: logger, Registerer: p.reg,
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(p.Close)
	return p
}

// interaction makes an interaction in a channel, which nobody has answered. It is young, however slow the machine is,
// unless i says otherwise.
func (w *world) interaction(i fakediscord.Interaction, channel string) discord.Target {
	if i.Created.IsZero() {
		i.Created = time.Now().Add(testserver.Patience)
	}
	issued := w.fake.Issue(i.In("1", channel))
	return discord.Target{
		ApplicationID: w.fake.ApplicationID(), InteractionID: issued.ID, Token: issued.Token, Type: discord.Type(i.Type), Channel: channel,
	}
}

// deferred makes an interaction in a channel, whose answer is to be an edit.
func (w *world) deferred(channel string) discord.Target {
	w.tb.Helper()
	target := w.interaction(fakediscord.Slash("ping"), channel)
	w.answerWith(&target, `{"type":5}`)
	return target
}

// answerWith answers an interaction without the process.
func (w *world) answerWith(t *discord.Target, body string) {
	w.tb.Helper()
	c := call{target: t, way: discord.Callback, body: []byte(body)}
	if _, err := w.api.Do(w.tb.Context(), w.request(c)); err != nil {
		w.tb.Fatal(err)
	}
}

// edit is an answer that edits a deferral.
func edit(t discord.Target, followUps ...string) *discord.Answer {
	a := &discord.Answer{Target: t, Way: discord.Edit, Response: message("answer")}
	for _, f := range followUps {
		a.FollowUps = append(a.FollowUps, message(f).Data)
	}
	return a
}

func message(content string) discord.Response {
	return discord.Response{Type: discord.ResponseMessage, Data: json.RawMessage(fmt.Sprintf(`{"content":%q}`, content))}
}

// sends sends an answer, which must be taken, and returns the next one.
func (w *world) sends(a *discord.Answer) *discord.Answer {
	w.tb.Helper()
	next, err := w.Send(w.tb.Context(), a)
	if err != nil {
		w.tb.Fatal(err)
	}
	return next
}

// later sends an answer, which must wait for the reason, and returns for how long.
func (w *world) later(a *discord.Answer, reason string) time.Duration {
	w.tb.Helper()
	_, err := w.Send(w.tb.Context(), a)
	var held *LaterError
	if !errors.As(err, &held) || !strings.Contains(held.Reason, reason) {
		w.tb.Fatalf("%v, want a LaterError with %q", err, reason)
	}
	if held.After <= 0 {
		w.tb.Errorf("try again in %v, want more than 0", held.After)
	}
	return held.After
}

// contents is what a channel shows.
func (w *world) contents(channel string) (contents []string) {
	for _, m := range w.fake.Messages(channel) {
		contents = append(contents, m.Content)
	}
	return contents
}

func (w *world) wantShown(channel string, want ...string) {
	w.tb.Helper()
	if d := cmp.Diff(want, w.contents(channel)); d != "" {
		w.tb.Errorf("the channel shows (-want +got):\n%s", d)
	}
}

// wantCounted compares the counter of answers, without those that are 0.
func (w *world) wantCounted(want map[string]float64) {
	w.tb.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.tb.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "arrakis_discord_answers_total" {
			for _, m := range f.GetMetric() {
				if m.GetCounter().GetValue() == 0 {
					continue
				}
				got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		w.tb.Errorf("answers counted (-want +got):\n%s", d)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testserver.Miniredis(t).Addr())
	w.CountInline()
	w.sends(edit(w.deferred("1")))
	if err := testutil.GatherAndCompare(w.reg, strings.NewReader(`
# HELP arrakis_discord_answers_total Answers to interactions by way and result; one that is tried again counts each time.
# TYPE arrakis_discord_answers_total counter
arrakis_discord_answers_total{result="dropped",way="callback"} 0
arrakis_discord_answers_total{result="dropped",way="edit"} 0
arrakis_discord_answers_total{result="dropped",way="followup"} 0
arrakis_discord_answers_total{result="error",way="callback"} 0
arrakis_discord_answers_total{result="error",way="edit"} 0
arrakis_discord_answers_total{result="error",way="followup"} 0
arrakis_discord_answers_total{result="expired",way="callback"} 0
arrakis_discord_answers_total{result="expired",way="edit"} 0
arrakis_discord_answers_total{result="expired",way="followup"} 0
arrakis_discord_answers_total{result="later",way="callback"} 0
arrakis_discord_answers_total{result="later",way="edit"} 0
arrakis_discord_answers_total{result="later",way="followup"} 0
arrakis_discord_answers_total{result="lost",way="unstored"} 0
arrakis_discord_answers_total{result="refused",way="callback"} 0
arrakis_discord_answers_total{result="refused",way="edit"} 0
arrakis_discord_answers_total{result="refused",way="followup"} 0
arrakis_discord_answers_total{result="sent",way="callback"} 0
arrakis_discord_answers_total{result="sent",way="edit"} 1
arrakis_discord_answers_total{result="sent",way="followup"} 0
arrakis_discord_answers_total{result="sent",way="inline"} 1
# HELP arrakis_discord_invalid_requests Calls of the last 10 minutes that count towards a ban by Discord, over all processes; at 5000 no more are made.
# TYPE arrakis_discord_invalid_requests gauge
arrakis_discord_invalid_requests 0
`), "arrakis_discord_answers_total", "arrakis_discord_invalid_requests"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(w.reg, "arrakis_discord_request_seconds"); n != 1 || err != nil {
		t.Errorf("%d series of arrakis_discord_request_seconds, %v; want 1", n, err)
	}
	if problems, err := testutil.GatherAndLint(w.reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
