package pipeline

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestBadFixturesAreBuriedWhileGoodTrafficGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	b.start()
	if _, _, err := b.store.Put(t.Context(), "good", tenant.Config{Tier: tenant.Enterprise}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	bad := testserver.Fixtures(t, "bad")
	for name, body := range bad {
		b.publish("commands.interaction", body)
		if o := b.outcome(b.publish("commands.interaction", command("good", "ping", "after-"+name))); o.Status != contract.StatusOK {
			t.Errorf("beside %s: %+v", name, o)
		}
	}
	testserver.Eventually(b.t, "every bad message is a dead letter", func() bool {
		return b.deadLetters(contract.ReasonMalformed) == uint64(len(bad)-1) && b.deadLetters(contract.ReasonNoCommunity) == 1
	})
	testserver.Eventually(b.t, "no message is left", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })

	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := s.GetLastMsgForSubject(t.Context(), "deadletter.COMMANDS.no_community")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(discord.Redact(bad["no-community.json"])), string(letter.Data)); diff != "" {
		t.Errorf("the dead letter's body (-want +got)\n%s", diff)
	}
	for name, want := range map[string]string{
		contract.HeaderReason: "no_community", contract.HeaderStream: "COMMANDS", contract.HeaderSubject: "commands.interaction", contract.HeaderAttempts: "1",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("dead letter's %s = %q, want %q", name, got, want)
		}
	}
	if got := letter.Header.Get(contract.HeaderError); !strings.HasPrefix(got, "community_id") {
		t.Errorf("dead letter's error %q does not name the field", got)
	}
}

func TestGoodFixturesAreHandled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handled := make(chan *Message, 32)
	take := func(_ context.Context, m *Message) (any, error) { handled <- m; return nil, nil }
	for _, name := range []string{"stats", "leaderboard", "unknown", "profile"} {
		b.handlers.Command(name, take)
	}
	for _, name := range []string{"guild.join", "guild.leave", "member.join", "member.update", "member.leave"} {
		b.handlers.Event(name, take)
	}
	b.handlers.Eligibility("single", take)
	b.handlers.Sync("community_sync", take)
	b.start()
	for name, body := range testserver.Fixtures(t, "good") {
		subject := "commands.interaction"
		switch {
		case strings.HasPrefix(name, "eligibility-sync"):
			subject = "eligibility.sync.community_sync"
		case strings.HasPrefix(name, "eligibility"):
			subject = "eligibility.check.single"
		case !strings.HasPrefix(name, "interaction") && !strings.HasPrefix(name, "unicode"):
			subject = "events." + strings.ReplaceAll(strings.TrimSuffix(name, ".json"), "-", ".")
		}
		if o := b.outcome(b.publish(subject, body)); o.Status != contract.StatusOK {
			t.Errorf("%s: %+v", name, o)
			continue
		}
		m := <-handled
		if string(m.Body) != string(body) || !strings.Contains(string(body), string(m.Data)) || len(m.Data) == 0 {
			t.Errorf("%s: the handler got body %q with data %q", name, m.Body, m.Data)
		}
	}
}
