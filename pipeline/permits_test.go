package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// queuedCommands holds up the only worker of a pipeline with a command, and publishes nine more of the community and
// one user, which use up the free limit. It returns them once they are older than their time to live. release lets the
// worker go on; ran counts the handlers of the nine.
func queuedCommands(t *testing.T, b *bundle) (waiting []*nats.Subscription, release func(), ran *atomic.Int64) {
	t.Helper()
	const ttl = 5 * time.Second // which a busy machine has to start the first one and to charge the others
	gate, started := make(chan struct{}), make(chan struct{})
	ran = new(atomic.Int64)
	b.handlers.Command("slow", func(context.Context, *Message) (any, error) {
		close(started)
		<-gate
		return "slow", nil
	})
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) {
		ran.Add(1)
		return "pong", nil
	})
	b.options = func(o *Options) { o.HandlerConcurrency, o.CommandTTL = 1, ttl }
	if err := b.redis.Set("tenant:config:c", `{"tier":"free","rateLimits":{"userCommandsPerMinute":20}}`); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.publish("commands.interaction", userCommand("slow", "first"))
	<-started
	for i := range 9 {
		waiting = append(waiting, b.publish("commands.interaction", userCommand("ping", fmt.Sprint("e", i))))
	}
	testserver.Eventually(t, "all are charged", func() bool { return b.charged("c:command") == 10 })
	stored := time.Now()
	testserver.Eventually(t, "they are expired, whatever the error of the clock on a busy machine", func() bool { return time.Since(stored) > 2*ttl })
	return waiting, func() { close(gate) }, ran
}

// userCommand is a command of the community c and the user ann.
func userCommand(name, eventID string) []byte {
	return fmt.Appendf(nil, `{"event_id":%q,"event_type":"interaction.create","guild_id":"c","user_id":"ann","data":{"command_name":%q}}`, eventID, name)
}

// charged is how many permits of a limit are taken in Redis.
func (b *bundle) charged(key string) int {
	members, _ := b.redis.ZMembers("ratelimit:" + key) // an error means that there is no such key
	return len(members)
}

// F11: a command that expires while it waits for a handler is reported expired and not handled, and its permits, the
// community's and the user's, are given back.
func TestF11ExpiredInTheQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	waiting, release, ran := queuedCommands(t, b)
	release()
	for i, sub := range waiting {
		if o := b.outcome(sub); o.Status != contract.StatusExpired || o.Error == nil || o.Error.Code != 410 {
			t.Errorf("command %d: %+v, want expired", i, o)
		}
	}
	if n := ran.Load(); n != 0 {
		t.Errorf("%d handlers of expired commands ran", n)
	}
	for _, key := range []string{"c:command", "c:user_command/ann"} {
		testserver.Eventually(t, "the permits of "+key+" are back", func() bool { return b.charged(key) == 1 })
	}
	// They can be used again, also by a process that has learned that the limit is used up.
	testserver.Eventually(t, "a command is admitted", func() bool {
		return b.outcome(b.publish("commands.interaction", userCommand("ping", fmt.Sprint(time.Now().UnixNano())))).Status == contract.StatusOK
	})
}

// F11: while Redis is away the permits stay, and nobody waits for them.
func TestF11PermitsStayWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	waiting, release, _ := queuedCommands(t, b)
	b.redis.SetError("LOADING")
	release()
	for i, sub := range waiting {
		if o := b.outcome(sub); o.Status != contract.StatusExpired {
			t.Errorf("command %d: %+v, want expired", i, o)
		}
	}
	testserver.Eventually(t, "all are counted", func() bool { return b.kept() == 9 })
	b.redis.SetError("")
	if n := b.charged("c:command"); n != 10 {
		t.Errorf("%d permits are taken, want 10", n)
	}
}

// kept is arrakis_permits_kept_total.
func (b *bundle) kept() float64 {
	b.t.Helper()
	return b.value("arrakis_permits_kept_total")
}

// F11: another process may have handled a command that this one did not keep in progress, or whose connection was lost.
// Its permits are not given back.
func TestF11PermitsOfOthersStay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tt := range map[string]struct {
		change func(*fairQueue, *delivery)
		want   bool
	}{
		"in progress all the time": {func(*fairQueue, *delivery) {}, true},
		"told in time": {func(q *fairQueue, d *delivery) {
			d.received = now.Add(-29 * time.Second)
			q.dueInProgress(now, d.reconnects)
		}, true},
		"told too late": {func(q *fairQueue, d *delivery) {
			d.received = now.Add(-31 * time.Second)
			q.dueInProgress(now, d.reconnects)
		}, false},
		"not told":             {func(_ *fairQueue, d *delivery) { d.received = now.Add(-31 * time.Second) }, false},
		"the connection broke": {func(_ *fairQueue, d *delivery) { d.reconnects-- }, false},
	} {
		src := newRouteSource(testserver.JetStream(t, testserver.NATS(t).Connect(t)), contract.KindCommand.Route(), discard)
		src.ackWait.Store(int64(30 * time.Second))
		q := newFairQueue(1, 0)
		d := queued("c", 0)
		d.source, d.received, d.reconnects = src, now, src.connections()
		q.put([]*delivery{d})
		tt.change(q, d)
		if got := q.ours(d, now); got != tt.want {
			t.Errorf("%s: ours %t, want %t", name, got, tt.want)
		}
	}
}
