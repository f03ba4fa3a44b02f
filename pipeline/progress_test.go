package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/contract"
)

// TestProgressAndFollowUps: what a Go function and a micro service show before their answers and after them comes in order.
func TestProgressAndFollowUps(t *testing.T) {
	b := setupInteractions(t)
	shown := make(chan struct{})
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		if err := m.FollowUp("first"); err != nil {
			return nil, err
		}
		if err := m.FollowUp("second"); err != nil {
			return nil, err
		}
		if err := m.Progress("half"); err != nil {
			return nil, err
		}
		<-shown
		return "done", nil
	})
	_, err := b.nc.Subscribe("handlers.command.work", func(m *nats.Msg) {
		to := m.Header.Get(contract.HeaderProgressTo)
		follow := &nats.Msg{Subject: to, Data: []byte(`"first"`), Header: nats.Header{contract.HeaderFollowUp: {"1"}}}
		if _, err := b.nc.RequestMsg(follow, testserver.Patience); err != nil {
			t.Error(err)
		}
		if _, err := b.nc.Request(to, []byte(`"half"`), testserver.Patience); err != nil {
			t.Error(err)
		}
		<-shown
		_ = m.Respond([]byte(`"done"`))
	})
	if err != nil {
		t.Fatal(err)
	}
	b.start()
	now := func(i fakediscord.Interaction) fakediscord.Interaction {
		i.Created = time.Now().Add(testserver.Patience)
		return i
	}
	first, second := b.gateway(now(ping())), b.gateway(now(fakediscord.Slash("work").In("1", "2")))
	b.said(first, 1)
	b.said(second, 1)
	close(shown)
	want := []string{"callback half", "edit done", "followup first", "followup second"}
	if diff := cmp.Diff(want, b.said(first, 4)); diff != "" {
		t.Errorf("of the Go function (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want[:3], b.said(second, 3)); diff != "" {
		t.Errorf("of the micro service (-want +got)\n%s", diff)
	}
	b.ended()
}

// TestFollowUpBounds: a handler is told which follow-up is one too many, or too large to be stored.
func TestFollowUpBounds(t *testing.T) {
	b := setupInteractions(t)
	large := map[string]any{"embeds": []any{map[string]any{"description": strings.Repeat("x", int(b.nc.MaxPayload())/4)}}}
	var got []bool
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		for _, next := range []any{large, large, "1", "2", "3", "4", "5"} {
			got = append(got, m.FollowUp(next) == nil)
		}
		return "pong", nil
	})
	b.start()
	b.gateway(ping())
	b.ended()
	if diff := cmp.Diff([]bool{true, false, true, true, true, true, false}, got); diff != "" {
		t.Errorf("follow-ups that are taken (-want +got)\n%s", diff)
	}
}

// TestFollowUpTooLate: a follow-up that comes after its handler has ended is not sent, and who gives it is told.
func TestFollowUpTooLate(t *testing.T) {
	b := setupInteractions(t)
	messages := make(chan *Message, 1)
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		messages <- m
		return "pong", nil
	})
	b.start()
	b.gateway(ping())
	b.ended()
	if err := (<-messages).FollowUp("more"); err == nil {
		t.Error("a follow-up is taken that nobody sends")
	}
}

// TestNoInteraction: a handler is told that there is nobody to be shown anything.
func TestNoInteraction(t *testing.T) {
	b := setupInteractions(t)
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		return errors.Is(m.Progress("half"), ErrNoInteraction) && errors.Is(m.FollowUp("more"), ErrNoInteraction), nil
	})
	b.start()
	if o := b.outcome(b.publish("commands.interaction", command("1", "ping", "e1"))); string(o.Result) != "true" {
		t.Errorf("the result is %s", o.Result)
	}
}
