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
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

// lost is how many answers could not be stored.
func (b *interactionBundle) lost() float64 {
	return b.counted("arrakis_discord_answers_total", "result", "lost")
}

// TestAnswerWaitsForStream: an answer that ANSWERS does not take for long is sent later, while Discord takes it.
func TestAnswerWaitsForStream(t *testing.T) {
	t.Parallel()
	b := setupInteractions(t)
	log, options := new(testserver.Output), b.options
	b.options = func(o *Options) { o.Logger = log.Logger(); options(o) }
	b.handlers.Command("ping", pong)
	b.ensure()
	b.bound(contract.StreamAnswers, 1)
	b.start()
	young, old := ping(), ping()
	young.Created = time.Now().Add(testserver.Patience)
	old.Created = time.Now().Add(-discord.Lifetime)
	id := b.gateway(young)
	b.gateway(old)
	testserver.Eventually(t, "one waits, and one is lost", func() bool {
		return log.Count("ANSWERS does not take them") == 1 && b.lost() == 1
	})
	b.bound(contract.StreamAnswers, 1<<20)
	if diff := cmp.Diff([]string{"callback pong"}, b.said(id, 1)); diff != "" {
		t.Errorf("Discord was told (-want +got)\n%s", diff)
	}
	b.ended()
	if n := b.lost(); n != 1 {
		t.Errorf("%v answers are lost, want 1", n)
	}
}

// TestAnswerWaitsForConnection: the answer of a handler that ends while NATS is away is sent when it is back.
func TestAnswerWaitsForConnection(t *testing.T) {
	t.Parallel()
	b := setupInteractions(t)
	proxy := testserver.Proxy(t, strings.TrimPrefix(b.server.URL(), "nats://"))
	conn := testserver.ConnectNATS(t, "nats://"+proxy.Addr(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	options := b.options
	b.options = func(o *Options) { o.NATS, o.Logger = conn, discard; options(o) }
	running, end, ended := make(chan struct{}, 10), make(chan struct{}), make(chan struct{}, 10)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) {
		running <- struct{}{}
		<-end
		ended <- struct{}{}
		return "pong", nil
	})
	b.start()
	i := ping()
	i.Created = time.Now().Add(testserver.Patience)
	id := b.gateway(i)
	<-running
	proxy.Refuse()
	testserver.Eventually(t, "the connection is lost", func() bool { return !conn.IsConnected() })
	close(end)
	<-ended
	proxy.Accept()
	if diff := cmp.Diff([]string{"callback pong"}, b.said(id, 1)); diff != "" {
		t.Errorf("Discord was told (-want +got)\n%s", diff)
	}
	b.ended()
}

// TestAnswerGoesOn: for how long an answer is kept that cannot be stored.
func TestAnswerGoesOn(t *testing.T) {
	t.Parallel()
	x, now := &interactions{patient: make(chan struct{}, 1)}, time.Now()
	newAnswer := func() *outgoing {
		return &outgoing{until: now.Add(time.Minute), sorry: func() discord.Response { return discord.Response{} }}
	}
	goesOn := func(what string, o *outgoing, err error, times int) {
		t.Helper()
		for range times {
			if !x.goesOn(o, err, now) {
				t.Fatalf("%s: given up", what)
			}
		}
	}
	ends := func(what string, o *outgoing, err error, at time.Time) {
		t.Helper()
		if x.goesOn(o, err, at) {
			t.Errorf("%s: not given up", what)
		}
	}
	full, first, second, large := errors.New("full"), newAnswer(), newAnswer(), newAnswer()
	goesOn("the first one", first, full, 100)
	goesOn("another one", second, full, storeTries-1)
	goesOn("without a connection", second, nats.ErrDisconnected, 100)
	ends("no place is left", second, full, now)
	ends("the token has ended", first, full, now.Add(time.Hour))
	goesOn("too large", large, nats.ErrMaxPayload, 1)
	ends("the error is too large, too", large, nats.ErrMaxPayload, now)
}
