package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/worker"
)

// TestMigration is the rehearsal of docs/rabbitmq.md, step by step, while a publisher goes on without a pause: no check is
// missing at the end, and what arrakis has handled was charged once.
func TestMigration(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "quorum")
	m := &migration{bed: b, rdb: testserver.Redis(t).Client(t), more: make(chan struct{}, 1), old: map[string]int{}, new: map[string]int{}}
	m.allowTenants(t)
	m.publishTo(m.toRabbitMQ(t))
	stopOld := m.startOldConsumer(t)
	stopPublishing := m.startPublishing(t)
	m.awaitMore(t, 50)

	// Step 1: the workers run, and have nothing to do.
	stopWorker := m.startWorker(t)

	// Step 2: look. What the queue has is mapped.
	look := b.options()
	look.To = Eligibility
	if p, err := Look(t.Context(), look); err != nil || len(p.Messages) > 0 && p.Messages[0].Reason != "" {
		t.Fatalf("%+v, %v", p, err)
	}

	// Step 3: the bridge beside the old consumers.
	o := b.options()
	o.To, o.Follow, o.Prefetch = Eligibility, true, 10
	bridge := start(t, o)
	m.awaitMore(t, 50)

	// Step 4: the old consumers end, and the bridge has it all.
	stopOld()
	m.awaitMore(t, 50)

	// Step 5: the publishers move.
	m.publishTo(m.toNATS(t))
	m.awaitMore(t, 50)

	// Step 6: drain to the end.
	bridge.stop()
	bridge.wait(t)
	o.Follow = false
	if counts := start(t, o).wait(t); counts.Left != 0 || !counts.Match() || counts.Others != 0 {
		t.Errorf("%+v", counts)
	}
	if counts := bridge.counts; !counts.Match() || counts.DeadLettered != 0 || counts.Stored == 0 {
		t.Errorf("%+v", counts)
	}
	m.awaitMore(t, 50)

	// The way back. Step 1: the publishers, then the workers.
	m.publishTo(m.toRabbitMQ(t))
	stopWorker()
	m.sendChecks(t, m.toNATS(t), 20) // what was still to be handled when the workers ended
	// Step 2: reverse, and the old consumers.
	back := b.back()
	back.From = Eligibility
	counts, err := Reverse(t.Context(), back)
	if err != nil || counts.Left != 0 || counts.Acked < 20 || counts.Acked != counts.Confirmed {
		t.Errorf("%+v, %v", counts, err)
	}
	stopOld = m.startOldConsumer(t)
	m.awaitMore(t, 50)
	stopPublishing()
	testserver.Eventually(t, "all are handled", func() bool { return m.missing() == 0 })
	stopOld()
	m.audit(t)
}

// migration is a site that moves.
type migration struct {
	*bed
	rdb *redis.Client

	send      atomic.Pointer[func(context.Context, amqp.Publishing) error]
	published atomic.Int64 // IDs below it are confirmed, or sent just now

	more chan struct{} // gets a token when a check was handled, if it has none

	mu       sync.Mutex // protects the fields below
	old, new map[string]int
}

const communities = 7

// check is an envelope of a check. Checks are counted for an hour, so that all of them are still counted at the end.
func check(id int) amqp.Publishing {
	return amqp.Publishing{Body: fmt.Appendf(nil, `{"event_id":"e%d","event_type":"eligibility.check","check_type":"single","guild_id":"comm_%d"}`, id, id%communities)}
}

func (m *migration) allowTenants(t *testing.T) {
	t.Helper()
	for i := range communities {
		id := fmt.Sprintf("comm_%d", i)
		config := fmt.Sprintf(`{"communityId":%q,"tier":"pro","rateLimits":{"eligibilityChecksPerHour":9000}}`, id)
		if err := m.rdb.Set(t.Context(), "tenant:config:"+id, config, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *migration) publishTo(send func(context.Context, amqp.Publishing) error) { m.send.Store(&send) }

func (m *migration) toRabbitMQ(t *testing.T) func(context.Context, amqp.Publishing) error {
	t.Helper()
	ch := m.rabbit.Channel(t)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, p amqp.Publishing) error {
		p.DeliveryMode = amqp.Persistent
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", m.queue, true, false, p)
		if err == nil && !c.Wait() {
			err = amqp.ErrClosed
		}
		return err
	}
}

func (m *migration) toNATS(t *testing.T) func(context.Context, amqp.Publishing) error {
	t.Helper()
	js := testserver.JetStream(t, m.nats.Connect(t))
	return func(ctx context.Context, p amqp.Publishing) error {
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: "eligibility.check.single", Data: p.Body})
		return err
	}
}

// startPublishing publishes until it is stopped, never more than 40 checks ahead of their handlers.
func (m *migration) startPublishing(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if m.missing() < 40 {
				m.sendChecks(t, *m.send.Load(), 1)
				continue
			}
			select {
			case <-m.more:
			case <-ctx.Done():
			}
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func (m *migration) sendChecks(t *testing.T, send func(context.Context, amqp.Publishing) error, n int) {
	t.Helper()
	for range n {
		if err := send(context.WithoutCancel(t.Context()), check(int(m.published.Add(1)-1))); err != nil {
			t.Errorf("publish: %v", err)
		}
	}
}

// handled is told of each check that was handled.
func (m *migration) handled(by map[string]int, id string) {
	m.mu.Lock()
	by[id]++
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// missing is how many checks were published and not handled yet.
func (m *migration) missing() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := int(m.published.Load()) - len(m.old) - len(m.new)
	for id := range m.old {
		if m.new[id] > 0 {
			n++
		}
	}
	return n
}

// awaitMore waits until that many more checks were handled.
func (m *migration) awaitMore(t *testing.T, n int) {
	t.Helper()
	want := int(m.published.Load()) - m.missing() + n
	testserver.Eventually(t, "more checks are handled", func() bool { return int(m.published.Load())-m.missing() >= want })
}

// startOldConsumer starts what consumed the queue before arrakis.
func (m *migration) startOldConsumer(t *testing.T) (stop func()) {
	t.Helper()
	ch := m.rabbit.Channel(t)
	if err := ch.Qos(5, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(m.queue, "old", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for d := range deliveries {
			e, err := contract.Decode(contract.KindEligibility, d.Body)
			if err != nil {
				t.Error(err)
			}
			m.handled(m.old, string([]byte(e.EventID)))
			_ = d.Ack(false) // if it does not come, the message comes again
		}
	})
	stop = sync.OnceFunc(func() { _ = ch.Close(); wg.Wait() }) // what it held goes back to the queue
	t.Cleanup(stop)
	return stop
}

func (m *migration) startWorker(t *testing.T) (stop func()) {
	t.Helper()
	handlers := pipeline.NewHandlers()
	handlers.Eligibility("single", func(_ context.Context, msg *pipeline.Message) (any, error) {
		m.handled(m.new, string([]byte(msg.EventID)))
		return "pong", nil
	})
	w, err := worker.New(worker.Options{NATS: m.nats.Connect(t), Redis: m.rdb, Handlers: handlers, Logger: m.log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	if err := w.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return stop
}

// audit fails unless each check was handled, and each that arrakis has handled was charged once.
func (m *migration) audit(t *testing.T) {
	t.Helper()
	if n := m.missing(); n != 0 {
		t.Errorf("%d of %d checks are missing", n, m.published.Load())
	}
	if len(m.old) < 100 || len(m.new) < 150 {
		t.Errorf("%d were handled before and after, %d by arrakis: fewer than the steps have waited for", len(m.old), len(m.new))
	}
	charged := 0
	for i := range communities {
		ids, err := m.rdb.ZRange(t.Context(), fmt.Sprintf("ratelimit:comm_%d:eligibility_check", i), 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		charged += len(ids)
		for _, id := range ids {
			if m.new[id] == 0 {
				t.Errorf("%s was charged and not handled", id)
			}
		}
	}
	if charged != len(m.new) {
		t.Errorf("%d are charged, %d were handled", charged, len(m.new))
	}
	stream, err := m.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil || stream.CachedInfo().State.Msgs != 0 {
		t.Errorf("%d dead letters, %v", stream.CachedInfo().State.Msgs, err)
	}
}
