package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/pipeline/attempts"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/discord/rest"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/retry"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/tracing"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Options configures a [Pipeline]. Package worker documents, checks and completes them: every field has its value but
// Handlers, Fallbacks and Registerer, which may be nil.
type Options struct {
	NATS                *nats.Conn
	Streams             streams.Options
	Tenants             *store.Store
	Limiter             *limiter.Limiter // the caller runs it
	Redis               redis.UniversalClient
	Handlers, Fallbacks *Handlers

	Shards, ShardMailbox, TenantCacheSize int
	TenantCacheTTL                        time.Duration

	HandlerConcurrency int
	TenantConcurrency  int // 0: as many as the dynamic threshold of the fair queue allows
	HandlerTimeout     time.Duration
	MaxAttempts        int
	RetryBackoff       []time.Duration // at least one
	RetryUntil         time.Duration
	CommandTTL         time.Duration // 0: commands never expire
	OverloadAge        time.Duration // 0: no command is refused because of overload
	MetricsMaxTenants  int
	ShutdownTimeout    time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer

	Tracer  *tracing.Tracer // nil: no message is recorded
	Discord *DiscordOptions // nil: no answer is sent to Discord

	laneStay time.Duration // of a community in a lane, at least; tests shorten it; 0: the default of package lanes
}

// DiscordOptions say how answers are sent to Discord.
type DiscordOptions struct {
	ApplicationID string // of interactions that do not say theirs; may be ""
	Client        *rest.Client
}

// Pipeline is the stages and the queues between them. New makes a Pipeline; Run runs it once.
type Pipeline struct {
	// Set by New, read-only.
	timeout    time.Duration // of a shutdown as a whole
	aborting   time.Duration // the last part of timeout, for giving back what is not finished
	nc         *nats.Conn
	log        *slog.Logger
	ensurer    *ensurer
	monitor    *monitor
	keeper     *streams.Keeper
	laneKeeper *laneKeeper
	config     *liveConfig
	activity   *activity

	decode  *decodeStage
	limit   *limitStage
	handle  *handleStage
	metrics *metricsStage

	// The queues. The queues between decode and limit are the mailboxes of the shards.
	admitted *fairQueue                // from limit to handle
	ended    *shard.Mailbox[*delivery] // from decode, limit and handle to metrics
}

// endedQueue is how many messages may wait for the metrics stage. While its queue is full, the stages before it wait.
const endedQueue = 8_192

// New makes a pipeline and starts nothing. Package shard checks the options of the shards.
func New(o Options) (*Pipeline, error) {
	js, err := jetstream.New(o.NATS)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	log := o.Logger.With("component", "pipeline")
	o.Handlers, o.Fallbacks = cmp.Or(o.Handlers, NewHandlers()), cmp.Or(o.Fallbacks, NewHandlers())
	shards, err := shard.NewPool[*delivery](shard.Options{
		Tenants: o.Tenants, Limits: o.Limiter, Shards: o.Shards, Mailbox: o.ShardMailbox,
		CacheSize: o.TenantCacheSize, CacheTTL: o.TenantCacheTTL, Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return nil, err
	}
	var answers *interactions
	if o.Discord != nil {
		answers = newInteractions(o.NATS, js, o.Discord, o.HandlerConcurrency, log)
		o.Handlers = o.Handlers.withAnswers(answers.sendAnswer)
	}
	known := newNames(o.Handlers, o.Fallbacks)
	m := newMetrics(o.Registerer, o.MetricsMaxTenants, known)

	ended := shard.NewMailbox[*delivery](endedQueue)
	admitted := newFairQueue(o.HandlerConcurrency, o.TenantConcurrency)
	admitted.waits = newWaits(o.OverloadAge)
	ensure := &ensurer{js: js, records: streams.NewRecords(o.Redis, o.Limiter.Health()), options: o.Streams, log: o.Logger}
	config := newLiveConfig(o.Tenants, o.Limiter.Health(), shards, newWeights(o.Tenants, o.Limiter.Health(), admitted), log)
	counter := newAttemptCounter(attempts.New(o.Redis, o.Limiter.Health()), o.MaxAttempts, o.HandlerTimeout, log)
	delays := newDelayer(shards, o.CommandTTL, ended)
	taken := newIntake()
	decode := &decodeStage{
		ensure: ensure.ensure, discord: answers != nil, commandTTL: o.CommandTTL, intake: taken, tracer: o.Tracer, metrics: m, log: log, admitted: admitted,
		shards: shards, ended: ended, added: make(chan struct{}, 1),
	}
	decode.addSources(js, &o)
	p := &Pipeline{
		timeout: o.ShutdownTimeout, aborting: abortTime(o.ShutdownTimeout),
		nc: o.NATS, log: log, ensurer: ensure, config: config,
		monitor:  newMonitor(decode.all(), ensure, log),
		activity: newActivity(m, taken, admitted),
		admitted: admitted, ended: ended,
		decode: decode,
		limit: &limitStage{
			handlers: o.Handlers, overload: newOverload(o.Registerer, o.OverloadAge, log), shards: shards, delays: delays,
			admitted: admitted, ended: ended,
		},
		handle: &handleStage{
			fallbacks: o.Fallbacks, services: &services{nc: o.NATS, known: known, features: config.featureText},
			absent:      newAbsent(known, log),
			concurrency: o.HandlerConcurrency, timeout: o.HandlerTimeout, commandTTL: o.CommandTTL, attempts: counter,
			interactions: answers,
			retries:      retryPolicy{backoff: o.RetryBackoff, until: o.RetryUntil},
			features:     config.features, ackWait: decode.shortestAckWait, metrics: m, log: log, admitted: admitted, ended: ended,
		},
		metrics: &metricsStage{
			nc: o.NATS, store: deadletter.New(js), metrics: m, log: log,
			attempts: counter, permits: newPermitReturner(shards, m, log), retries: retry.New(js, o.Logger), parkTime: parkTime,
			delays: delays, intake: taken, interactions: answers, admitted: admitted,
			ended: ended, deadLetters: make(chan *delivery, deadLetterQueue), moved: shard.NewMailbox[*delivery](math.MaxInt),
		},
	}
	p.metrics.missing = p.monitor.ensure
	p.laneKeeper = p.newLaneKeeper(&o)
	p.limit.laneWriter = p.laneKeeper.writer
	p.keep(o.Registerer)
	registerGauges(o.Registerer, decode, admitted, o.Tenants)
	return p, nil
}

// addSources adds the sources that every process has. Those of lanes come while it runs.
func (s *decodeStage) addSources(js jetstream.JetStream, o *Options) {
	for kind := range contract.Kind(contract.NumKinds) {
		if kind == contract.KindAnswer && o.Discord == nil {
			continue // those who can send answers take them
		}
		s.add(newRouteSource(js, kind.Route(), o.Logger))
	}
	s.add(newOptionalSource(js, contract.StreamRetry, contract.ConsumerRetry, o.Logger))
	s.add(newOptionalSource(js, contract.StreamOverflow, contract.ConsumerParked, o.Logger))
	for _, src := range s.all() {
		// A consumer that is made with these options never lets a process have as many. One that was made otherwise may.
		src.most.messages = o.Streams.MaxAckPending + pullBatch
	}
}

// keep makes the keeper of the streams, to which the sources count redeliveries.
func (p *Pipeline) keep(reg prometheus.Registerer) {
	p.keeper = streams.NewKeeper(streams.KeeperOptions{
		JetStream: p.ensurer.js, Records: p.ensurer.records, DeadLetter: p.metrics.unread,
		Logger: p.ensurer.log, Registerer: reg,
	})
	p.laneKeeper.redelivered = p.keeper.Redelivered(contract.StreamOverflow)
	for _, s := range p.decode.all() {
		if s.route != nil {
			s.redelivered = p.keeper.Redelivered(s.stream)
		}
	}
}

// Run creates missing streams and consumers, and works until ctx ends. It begins as soon as one consumer can be used:
// the sources of the others wait, for a leader, or for Redis, which knows where a lost one goes on. At the end of ctx,
// Run stops pulling, lets every stage finish its messages, front to back, and returns nil. shutdown is ctx, or a
// context that ends earlier: ShutdownTimeout after its end Run has returned. The last part of that time is for what is
// not finished by then: handlers are aborted, and messages are given back to JetStream, which delivers them to another
// process at once. Run returns an error only if the process cannot go on, or if a handler does not return after its
// context has ended.
func (p *Pipeline) Run(ctx, shutdown context.Context) error {
	if !p.ensurer.wait(ctx) {
		return nil
	}
	if x := p.metrics.interactions; x != nil {
		if err := x.subscribe(); err != nil {
			return fmt.Errorf("answers to interactions: %w", err)
		}
	}
	p.config.refresh(ctx)

	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	intake, stop := context.WithCancel(ctx)
	defer stop()
	var end time.Time // written by begin
	timer := time.AfterFunc(math.MaxInt64, abort)
	defer timer.Stop()
	begin := sync.OnceFunc(func() {
		end = time.Now().Add(p.timeout)
		timer.Reset(p.timeout - p.aborting)
	})
	defer context.AfterFunc(shutdown, begin)()
	defer context.AfterFunc(intake, func() {
		begin()
		p.log.InfoContext(work, "draining: not pulling any more", "timeout", time.Until(end).Round(time.Millisecond).String())
	})()
	err := p.await(work, p.start(intake, work, stop))
	begin() // waits for it, so that end can be read
	p.flush(work, time.Until(end))
	return err
}

// abortTime is how long the last part of a shutdown is, for giving back what is not finished: a fourth of it, and 3 s at
// most.
func abortTime(shutdown time.Duration) time.Duration { return min(shutdown/4, 3*time.Second) }

// flush waits until the server has read what was settled. The server answers a ping after it has read all earlier
// messages.
func (p *Pipeline) flush(work context.Context, timeout time.Duration) {
	err := nats.ErrDisconnected
	if p.nc.IsConnected() {
		err = p.nc.FlushTimeout(max(timeout, time.Millisecond))
	}
	if err != nil {
		p.log.WarnContext(work, "the last acknowledgements may be lost: their messages will be delivered again", "err", err)
	}
}

// start starts the stages. This is the path of a message:
//
//	JetStream ─► source ─► decode ─► a shard's mailbox ─► limit ─► admitted ─► handle ─► ended ─► metrics ─► JetStream
//	                                                        └─► moves ─► lanes ─► OVERFLOW, and then ended
//
// A message that cannot be decoded goes from decode to ended, and one that is not admitted from limit. An admitted
// message whose community is in a lane is moved there instead of handled, and comes back by the lane's source. A stage
// returns when the queue before it is closed and empty; then the queue after it is closed. All stages but the last fill
// ended, with what goes no further. It is closed when handle, the last of them, has returned.
func (p *Pipeline) start(intake, work context.Context, stop func()) *errgroup.Group {
	stages := new(errgroup.Group)
	stage := func(name string, run func() error, closeNext func()) {
		stages.Go(func() error {
			defer closeNext()
			err := run()
			p.log.DebugContext(work, "stage ended", "stage", name, "err", err)
			if err != nil && work.Err() == nil {
				stop() // the other stages drain
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	stage("decode", func() error { return p.takeIn(intake, work) }, p.limit.shards.Close)
	stage("limit", func() error { return p.limit.run(work) }, func() { p.limit.giveBack(work); p.limit.laneWriter.moves.Close() })
	stage("lanes", func() error { return p.limit.laneWriter.run(work) }, p.admitted.close)
	stage("handle", func() error { return p.handle.run(work) }, p.ended.Close)
	stage("metrics", func() error { return p.metrics.run(work) }, func() {})
	stages.Go(func() error { p.config.keepFresh(intake); return nil })
	stages.Go(func() error { p.config.queued.run(intake); return nil })
	stages.Go(func() error { return p.monitor.run(intake) })
	stages.Go(func() error { p.limit.overload.run(intake, p.admitted.takeWaits); return nil })
	stages.Go(func() error { p.keeper.Run(intake); return nil })
	return stages
}

// takeIn runs the decode stage, and beside it the keeper of the lanes, which adds sources to the stage. Lanes that are
// open are known before the first message.
func (p *Pipeline) takeIn(intake, work context.Context) error {
	p.laneKeeper.poll(intake)
	var keeper errgroup.Group
	keeper.Go(func() error { p.laneKeeper.run(intake); return nil })
	defer func() { _ = keeper.Wait() }() // returns nil only
	return p.decode.run(intake, work)
}

// await waits for the stages to end. After an abort it waits for half of the time that is left. Then what still runs is
// given back, because a handler that ignores its context must not hold the process.
func (p *Pipeline) await(work context.Context, stages *errgroup.Group) error {
	ended := make(chan error, 1)
	go func() { ended <- stages.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-work.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(p.aborting / 2):
	}
	running := p.admitted.stillRunning()
	for _, d := range running {
		_ = d.msg.Nak() // if this fails, it is delivered again after its ack wait
	}
	return notEnded(running)
}

// notEnded is the error that says what has not ended in time after an abort. Only Go functions can be at fault: a request
// to a micro service ends by itself, if the process gets to it.
func notEnded(running []*delivery) error {
	functions := slices.DeleteFunc(slices.Clone(running), func(d *delivery) bool { return d.function == nil })
	switch {
	case len(functions) > 0:
		return fmt.Errorf("aborted handlers still run: %s; a handler must return when its context ends", handlerNames(functions))
	case len(running) > 0:
		return fmt.Errorf("the process was too slow to end its requests in time: %s; their messages are given back", handlerNames(running))
	default:
		return errors.New("the stages have not ended in time: messages that they hold are delivered again after their ack wait")
	}
}

// Ready returns nil while messages of every kind are pulled and JetStream works. Otherwise the error says which stream
// or consumer does not work, and why. A fault is known within 15 s. While every handler is busy, or the messages that
// other processes hold reach MaxAckPending, the process is ready.
func (p *Pipeline) Ready() error { return p.monitor.ready() }

// EnsureStreams makes missing streams soon, while Run runs. It does not block.
func (p *Pipeline) EnsureStreams() { p.monitor.ensure() }

// Lanes says which communities are in a lane. It says nothing before Run.
func (p *Pipeline) Lanes() *lanes.Registry { return p.laneKeeper.registry }

// Reload puts a change of configuration in force in this process. The owner of the [watch.Watcher] passes every event
// to Reload. When Reload returns, the change is in force for every message that is put into a shard from now on; a
// global change reaches all tenants within a second. An error is ctx's.
func (p *Pipeline) Reload(ctx context.Context, e tenant.Event) error { return p.config.apply(ctx, e) }
