package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/attempts"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
	"arrakis/tenant/store"
)

// bundle is a worker and all that it needs, in this process: a real NATS server with JetStream, and miniredis.
type bundle struct {
	t        testing.TB
	server   *testserver.NATSServer // nil after setupOn
	nc       *nats.Conn
	js       jetstream.JetStream
	redis    *miniredis.Miniredis
	rdb      *redis.Client
	store    *store.Store
	limits   *limiter.Limiter
	registry *prometheus.Registry
	handlers *Handlers
	options  func(*Options)  // changes what start uses
	drain    time.Duration   // how long a worker that is stopped waits for its handlers; 0: as long as it may
	adjust   func(*Pipeline) // changes the pipeline before it runs
}

func setup(tb testing.TB) *bundle {
	tb.Helper()
	server := testserver.NATS(tb)
	b := setupOn(tb, server.Connect(tb))
	b.server = server
	return b
}

// setupOn is setup on a connection to NATS.
func setupOn(tb testing.TB, nc *nats.Conn) *bundle {
	tb.Helper()
	b := &bundle{t: tb, redis: testserver.Miniredis(tb), handlers: NewHandlers(), nc: nc}
	b.js = testserver.JetStream(tb, b.nc)
	b.rdb = redis.NewClient(&redis.Options{Addr: b.redis.Addr(), ContextTimeoutEnabled: true})
	tb.Cleanup(func() { _ = b.rdb.Close() })
	b.store = store.New(b.rdb, store.Options{Source: "test"})
	b.ownLimiter()
	return b
}

// ownLimiter gives the bundle a limiter of its own, as each process has one, for which a Redis that is slow, on a busy
// machine, is not away.
func (b *bundle) ownLimiter() {
	b.t.Helper()
	health, err := redishealth.New(b.rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.limits, err = limiter.New(b.rdb, limiter.Options{Health: health}); err != nil {
		b.t.Fatal(err)
	}
}

// defaults are the options of a worker, as package worker gives them but for the number of shards.
func (b *bundle) defaults() Options {
	return Options{
		NATS: b.nc, Tenants: b.store, Limiter: b.limits, Redis: b.rdb, Handlers: b.handlers,
		Streams: streams.Options{Storage: jetstream.MemoryStorage, MaxAckPending: 10_000},
		Shards:  4, ShardMailbox: 1024, TenantCacheSize: 100_000, TenantCacheTTL: 30 * time.Second,
		HandlerConcurrency: 256, HandlerTimeout: time.Hour, MaxAttempts: 3,
		RetryBackoff: []time.Duration{20 * time.Millisecond}, RetryUntil: time.Hour,
		MetricsMaxTenants: 10_000, ShutdownTimeout: 30 * time.Second,
		Logger: slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// start runs a worker, which becomes ready, and returns a function that stops it and waits for it.
func (b *bundle) start() (p *Pipeline, stop func()) {
	b.t.Helper()
	p, stop = b.run()
	testserver.Succeeds(b.t, "the worker is ready", p.Ready)
	return p, stop
}

// run is start for a worker that need not become ready.
func (b *bundle) run() (p *Pipeline, stop func()) {
	b.t.Helper()
	b.registry = prometheus.NewRegistry()
	o := b.defaults()
	o.Registerer = b.registry
	if b.options != nil {
		b.options(&o)
	}
	p, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.drain > 0 { // what follows has the time that a busy machine takes
		p.timeout, p.aborting = b.drain+testserver.Patience, testserver.Patience
	}
	if b.adjust != nil {
		b.adjust(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, ctx) }()
	stopped := false
	stop = func() {
		b.t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}
	b.t.Cleanup(stop)
	return p, stop
}

// publish stores a message and returns the subscription that its outcome comes to.
func (b *bundle) publish(subject string, body []byte, headers ...string) *nats.Subscription {
	b.t.Helper()
	inbox := b.nc.NewRespInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		b.t.Fatal(err)
	}
	msg := nats.NewMsg(subject)
	msg.Data = body
	msg.Header.Set(contract.HeaderReplyTo, inbox)
	for i := 0; i < len(headers); i += 2 {
		msg.Header.Set(headers[i], headers[i+1])
	}
	if _, err := b.js.PublishMsg(b.t.Context(), msg); err != nil {
		b.t.Fatal(err)
	}
	return sub
}

// outcome waits for the outcome of a message.
func (b *bundle) outcome(sub *nats.Subscription) contract.Outcome {
	b.t.Helper()
	msg, err := sub.NextMsg(testserver.Patience)
	if err != nil {
		b.t.Fatalf("no outcome: %v", err)
	}
	var o contract.Outcome
	if err := json.Unmarshal(msg.Data, &o); err != nil {
		b.t.Fatal(err)
	}
	return o
}

// command is the body of a command.
func command(community, name, eventID string) []byte {
	return fmt.Appendf(nil, `{"event_id":%q,"event_type":"interaction.create","guild_id":%q,"data":{"command_name":%q,"options":{"n":1}}}`,
		eventID, community, name)
}

// patiently is a context for questions to JetStream, which may take longer to answer on a busy machine than it has by
// default.
func (b *bundle) patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.t.Context(), testserver.Patience)
}

// deadLetters returns how many there are with a reason, of all streams.
func (b *bundle) deadLetters(reason contract.Reason) uint64 {
	b.t.Helper()
	ctx, cancel := b.patiently()
	defer cancel()
	s, err := b.js.Stream(ctx, contract.StreamDeadLetter)
	if err != nil {
		b.t.Fatal(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter("deadletter.*."+string(reason)))
	if err != nil {
		b.t.Fatal(err)
	}
	var n uint64
	for _, count := range info.State.Subjects {
		n += count
	}
	return n
}

// left returns how many messages a consumer still has: waiting or unacknowledged.
func (b *bundle) left(stream, consumer string) uint64 {
	b.t.Helper()
	ctx, cancel := b.patiently()
	defer cancel()
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		b.t.Fatal(err)
	}
	info := c.CachedInfo()
	return info.NumPending + uint64(info.NumAckPending)
}

// commands returns how many commands are counted with a status.
func (b *bundle) commands(status string) float64 {
	b.t.Helper()
	return b.counted("arrakis_tenant_commands_total", "status", status)
}

// counted returns the sum of a counter over all series that have a label with a value.
func (b *bundle) counted(name, label, value string) (n float64) {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label && l.GetValue() == value {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// value returns the value of a counter without labels.
func (b *bundle) value(name string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}

// attemptStore is the store of attempts, as another process has it.
func (b *bundle) attemptStore() *attempts.Store { return attempts.New(b.rdb, b.limits.Health()) }

// patient makes PublishAsync wait for room rather than fail.
var patient = jetstream.WithStallWait(testserver.Patience)

var discard = slog.New(slog.DiscardHandler)

// send stores messages for whose outcome nobody waits.
func (b *bundle) send(subject string, bodies ...[]byte) {
	b.t.Helper()
	for _, body := range bodies {
		if _, err := b.js.Publish(b.t.Context(), subject, body); err != nil {
			b.t.Fatal(err)
		}
	}
}

// next takes the next message of a consumer, as a worker that then dies.
func (b *bundle) next(stream, consumer string) jetstream.Msg {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), stream, consumer)
	if err != nil {
		b.t.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		b.t.Fatal(err)
	}
	return msg
}

// setAckWait changes the ack wait of a consumer.
func (b *bundle) setAckWait(stream, consumer string, d time.Duration) {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), stream, consumer)
	if err != nil {
		b.t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.AckWait = d
	if _, err := b.js.UpdateConsumer(b.t.Context(), stream, config); err != nil {
		b.t.Fatal(err)
	}
}

// replace deletes a stream and makes another in its place. One of another name that has its subjects keeps it from being
// made again.
func (b *bundle) replace(stream string, by jetstream.StreamConfig) {
	b.t.Helper()
	if err := b.js.DeleteStream(b.t.Context(), stream); err != nil {
		b.t.Fatal(err)
	}
	by.Storage = jetstream.MemoryStorage
	if _, err := b.js.CreateStream(b.t.Context(), by); err != nil {
		b.t.Fatal(err)
	}
}

// unacked is how many messages of a consumer are unacknowledged.
func (b *bundle) unacked(stream, consumer string) int {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), stream, consumer)
	if err != nil {
		b.t.Fatal(err)
	}
	return c.CachedInfo().NumAckPending
}
