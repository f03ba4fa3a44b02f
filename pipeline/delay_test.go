package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/tenant"
)

// delaying is a worker that delays the commands of the community c over its limit of ten a minute.
type delaying struct {
	*bundle
	p    *Pipeline
	stop func()
	conn *nats.Conn // of the worker, if it has its own

	mu  sync.Mutex // protects ran
	ran []ranCommand
}

// ranCommand is a command that its handler got.
type ranCommand struct {
	event string
	at    time.Time
}

// delayingOn starts the worker. Its handler of ping panics for the event IDs that begin with bad.
func delayingOn(t *testing.T, b *bundle, maxDelayed int) *delaying {
	t.Helper()
	w := &delaying{bundle: b}
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ran = append(w.ran, ranCommand{m.EventID, time.Now()})
		if strings.HasPrefix(m.EventID, "bad") && len(w.ran) == 11 {
			panic("bad")
		}
		return "pong", nil
	})
	document := fmt.Sprintf(`{"tier":"free","onLimit":{"command":"delay"},"maxDelayed":%d}`, maxDelayed)
	if err := b.redis.Set("tenant:config:c", document); err != nil {
		t.Fatal(err)
	}
	w.p, w.stop = b.start()
	testserver.Succeeds(t, "RETRY is there", func() error {
		_, err := b.js.Consumer(t.Context(), contract.StreamRetry, contract.ConsumerRetry)
		return err
	})
	return w
}

// pings publishes commands for whose outcome nobody waits, with the event IDs prefix1 and so on.
func (w *delaying) pings(prefix string, n int) {
	w.t.Helper()
	for i := range n {
		w.send("commands.interaction", command("c", "ping", fmt.Sprint(prefix, i+1)))
	}
}

func (w *delaying) events() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.ran {
		ids = append(ids, r.event)
	}
	return ids
}

// ranAll waits for n commands to be handled.
func (w *delaying) ranAll(n int) {
	w.t.Helper()
	testserver.Eventually(w.t, fmt.Sprint(n, " commands are handled"), func() bool { return len(w.events()) == n })
}

// age makes every permit of the window that much older, as if the time had passed. It returns when the first one leaves
// the window. What must come before that has that long, however slow the machine is.
func (w *delaying) age(d time.Duration) (free time.Time) {
	w.t.Helper()
	const key = "ratelimit:c:command"
	for _, p := range w.log() {
		if _, err := w.redis.ZAdd(key, p.score-float64(d.Milliseconds()), p.member); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.p.Reload(w.t.Context(), tenant.Event{Type: tenant.LimitReset, TargetID: "c:command"}); err != nil { // of what the shards remember
		w.t.Fatal(err)
	}
	return time.UnixMilli(int64(w.log()[0].score)).Add(time.Minute)
}

type logged struct {
	member string
	score  float64
}

// log is the window in Redis, oldest first.
func (w *delaying) log() (all []logged) {
	w.t.Helper()
	members, err := w.rdb.ZRangeWithScores(w.t.Context(), "ratelimit:c:command", 0, -1).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range members {
		all = append(all, logged{m.Member.(string), m.Score})
	}
	return all
}

func (w *delaying) delayed() float64 { return w.counted("arrakis_delayed_total", "action", "command") }

// TestDelay: of 23 commands, ten run at once, ten more as soon as permits are free for them, in their order, one waits
// for the window after that, and two are rejected, because eleven may wait. None is over the limit.
func TestDelay(t *testing.T) {
	t.Parallel()
	w := delayingOn(t, setup(t), 11)
	w.pings("now", 10)
	w.ranAll(10)
	free := w.age(50 * time.Second)
	w.pings("later", 13)
	testserver.Eventually(t, "eleven are delayed and two rejected", func() bool { return w.delayed() == 11 && w.commands("rate_limited") == 2 })
	all := w.log()
	if len(all) != 21 {
		t.Fatalf("%d permits, want 21", len(all))
	}
	for i := range all[10:] {
		if apart := all[i+10].score - all[i].score; apart < 60_000 {
			t.Errorf("permits %d and %d are %v ms apart", i, i+10, apart)
		}
	}
	testserver.Eventually(t, "none is unacknowledged", func() bool { return w.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	if n := len(w.events()); n != 10 && time.Now().Before(free) {
		t.Errorf("%d commands ran before a permit was free, want 10", n)
	}
	w.ranAll(20)
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint("later", i+1))
	}
	got := w.events()[10:]
	slices.Sort(got) // what becomes free in the same second runs at once
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("later ran %v, want %v", got, want)
	}
	w.mu.Lock()
	ran := slices.Clone(w.ran[10:])
	w.mu.Unlock()
	for _, r := range ran {
		if r.at.Before(free) {
			t.Errorf("%s ran %v before a permit was free", r.event, free.Sub(r.at))
		}
	}
	for _, l := range w.log() {
		if strings.HasPrefix(l.member, "later") {
			t.Errorf("%s was charged beside what was reserved for it", l.member)
		}
	}
	testserver.Eventually(t, "they are counted as success", func() bool { return w.commands("success") == 20 })
}

// A sender that waits is told at once if no permit is free within its wait, and else gets its outcome.
func TestDelayWhileSenderWaits(t *testing.T) {
	t.Parallel()
	w := delayingOn(t, setup(t), 100)
	w.pings("now", 10)
	w.ranAll(10)
	if o := w.outcome(w.publish("commands.interaction", command("c", "ping", "soon"))); o.Status != contract.StatusRateLimited {
		t.Errorf("a sender that waits for 10 s got %+v, want that it is told now", o)
	}
	if n := len(w.log()); n != 10 || w.delayed() != 0 {
		t.Errorf("%d permits and %v delayed messages, want 10 and none", n, w.delayed())
	}
	long := w.publish("commands.interaction", command("c", "ping", "long"), contract.HeaderWait, "3600000")
	testserver.Eventually(t, "it is delayed", func() bool { return w.delayed() == 1 })
	w.age(57 * time.Second) // the reservation is older too: its message comes too late for it
	w.outcomeOK(w.publish("commands.interaction", command("c", "ping", "patient"), contract.HeaderWait, "30000"))
	if _, err := long.NextMsg(time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("the message that waits for its time: %v", err)
	}
}

func (w *delaying) outcomeOK(sub *nats.Subscription) {
	w.t.Helper()
	if o := w.outcome(sub); o.Status != contract.StatusOK {
		w.t.Errorf("outcome %+v, want ok", o)
	}
}

// A command that would be expired by the time it runs is rejected.
func TestDelayIsShorterThanTimeToLive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options = func(o *Options) { o.CommandTTL = 30 * time.Second }
	w := delayingOn(t, b, 100)
	w.pings("e", 12)
	testserver.Eventually(t, "two are rejected", func() bool { return w.commands("rate_limited") == 2 })
	if n := w.delayed(); n != 0 {
		t.Errorf("%v are delayed", n)
	}
}

// A flood above the limit costs Redis nothing while the process knows that no more may wait.
func TestFloodAboveDelayed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var again atomic.Int64 // deliveries of messages that may have a reservation: Redis is always asked for those
	b.adjust = func(p *Pipeline) {
		p.metrics.delays.refusalTime = time.Hour // however slow the machine is
		for _, s := range p.decode.all() {
			s.redelivered = &again
		}
	}
	w := delayingOn(t, b, 1)
	w.pings("e", 11)
	testserver.Eventually(t, "one is delayed", func() bool { return w.delayed() == 1 })
	w.pings("refused", 1)
	testserver.Eventually(t, "one is rejected", func() bool { return w.commands("rate_limited") == 1 })
	before := w.redis.CommandCount()
	const flood = 1_500
	w.pings("flood", flood)
	testserver.Eventually(t, "the flood is rejected", func() bool { return w.commands("rate_limited") == 1+flood })
	// The process asks Redis for other things too, every second, and a slow machine takes half a minute. Without that
	// knowledge there are three commands or more for each message.
	const each = 20 // commands for one that comes again, at most
	if n, came := w.redis.CommandCount()-before, int(again.Load()); n > flood/2+each*came {
		t.Errorf("%d commands for %d rejected messages, of which %d came again", n, flood, came)
	}
	if n := len(w.log()); n != 11 {
		t.Errorf("%d permits, want 11", n)
	}
}

// Where RETRY cannot be used, messages over the limit are rejected, and their reservations are given back.
func TestDelayWithoutRetry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: contract.StreamRetry, Subjects: []string{"retry.>", "again.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := delayingOn(t, b, 100)
	w.pings("e", 15)
	testserver.Eventually(t, "five are rejected", func() bool { return w.commands("rate_limited") == 5 })
	testserver.Eventually(t, "their reservations are given back", func() bool { return len(w.log()) == 10 })
	w.ranAll(10)
}

// A worker that ends, or loses its connection, after it has reserved a permit, and before the message is stored in RETRY,
// loses neither: the next one finds the reservation.
func TestDelayInterrupted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*delaying){
		"shutdown": func(w *delaying) { w.stop() },
		"cut off":  func(w *delaying) { w.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			interruptDelay(t, end)
		})
	}
}

func interruptDelay(t *testing.T, end func(*delaying)) {
	t.Helper()
	b := setup(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: contract.StreamRetry, Subjects: []string{"again.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
		AllowMsgSchedules: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *nats.Msg, 16) // what is to be stored, and never is
	if _, err := b.nc.ChanSubscribe("retry.>", got); err != nil {
		t.Fatal(err)
	}
	conn := b.server.Connect(t)
	b.options = func(o *Options) { o.NATS = conn }
	b.drain = 100 * time.Millisecond
	w := delayingOn(t, b, 1)
	w.conn = conn
	w.setAckWait(contract.StreamCommands, contract.ConsumerCommand, time.Second)
	w.pings("e", 11)
	<-got
	end(w)
	before := w.log()
	if len(before) != 11 {
		t.Fatalf("%d permits, want 11: one is reserved", len(before))
	}
	config := b.stream(contract.StreamRetry)
	config.Subjects = []string{"retry.>", "again.>"}
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	b.options, b.drain = nil, 0
	w.start()
	testserver.Eventually(t, "the message is delayed", func() bool { return w.delayed() == 1 })
	if after := w.log(); !slices.Equal(before, after) {
		t.Errorf("the log was %v and is %v", before, after)
	}
}

// stream is the configuration of a stream.
func (b *bundle) stream(name string) jetstream.StreamConfig {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.CachedInfo().Config
}

// A delayed message that is replayed is not charged again.
func TestDelayedIsReplayed(t *testing.T) {
	t.Parallel()
	w := delayingOn(t, setup(t), 100)
	w.pings("now", 10)
	w.ranAll(10)
	w.age(50 * time.Second)
	w.pings("bad", 1)
	testserver.Eventually(t, "it is a dead letter", func() bool { return w.deadLetters(contract.ReasonPanic) == 1 })
	if n := w.delayed(); n != 1 {
		t.Fatalf("%v messages were delayed, want 1", n)
	}
	page, err := deadletter.New(w.js).List(t.Context(), deadletter.Query{})
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("dead letters: %+v, %v", page, err)
	}
	before := w.log()
	if _, err := deadletter.New(w.js).Replay(t.Context(), page.Entries[0].Seq); err != nil {
		t.Fatal(err)
	}
	w.ranAll(12)
	if after := w.log(); len(after) > len(before) {
		t.Errorf("charged again: the log was %v and is %v", before, after)
	}
}
