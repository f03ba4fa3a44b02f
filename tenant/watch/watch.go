package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

const (
	// pollTolerance is by how much the clocks of writers and Redis nodes may differ before a poll misses an entry of
	// the change log.
	pollTolerance = time.Minute

	maxChanges  = 10_000 // entries of one poll; after more, everything is reloaded
	maxSeen     = 20_000 // delivered entries that are remembered
	maxMember   = 512    // bytes of an entry; longer entries are refused
	pingTimeout = 5 * time.Second
	pollTimeout = 5 * time.Second
	retryPause  = 100 * time.Millisecond // after a failed attempt to subscribe
)

// Way is the way by which an event reached this process.
type Way string

// The ways.
const (
	PubSub Way = "pubsub"
	Poll   Way = "poll"
)

// Options are the settings of a Watcher. The zero value is usable.
type Options struct {
	// PollInterval is the time between two polls of the change log, which find the changes whose events pub/sub has
	// lost. Defaults to 30 s.
	PollInterval time.Duration
	// OnEvent receives the events, one at a time, on the goroutine of Run and with Run's context. It should return
	// soon: the next event waits for it. Defaults to a function that does nothing.
	OnEvent func(context.Context, tenant.Event, Way)
	// Logger logs malformed events, and when Redis goes away. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// Watcher delivers the events of changes. Pub/sub delivers them at once; a poll of the change log finds events that
// pub/sub has lost.
type Watcher struct {
	// Set by New, read-only.
	rdb     redis.UniversalClient
	opts    Options
	log     *slog.Logger
	metrics *metrics

	// Owned by the goroutine of Run.
	last      time.Time            // time of the last successful poll, by the clock of Redis
	seen      map[string]time.Time // recently delivered members of the change log and their scores
	away      bool                 // the last poll failed
	malformed time.Time            // when a malformed event was last logged
}

// New makes a watcher of the changes that a [store.Store] on rdb announces. It panics if the Registerer has metrics of
// another Watcher.
func New(rdb redis.UniversalClient, opts Options) *Watcher {
	if opts.PollInterval <= 0 {
		opts.PollInterval = 30 * time.Second
	}
	if opts.OnEvent == nil {
		opts.OnEvent = func(context.Context, tenant.Event, Way) {}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{
		rdb:     rdb,
		opts:    opts,
		log:     opts.Logger.With("component", "tenant"),
		metrics: newMetrics(opts.Registerer),
		seen:    make(map[string]time.Time),
	}
}

// Run delivers events until ctx ends, and then returns nil. While Redis is away, Run tries again. It polls after each
// subscription, so that it finds the changes from before the subscription. Start Run before you load tenants and flags,
// so that no change is lost in between. Call Run once.
func (w *Watcher) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		w.session(ctx)
	}
	return nil
}

// session runs one subscription until ctx ends or the server stops answering. The client reconnects by itself when the
// connection is cut. A connection that is silent ends the session, and Run starts a new one.
func (w *Watcher) session(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	pubsub := w.rdb.Subscribe(ctx, store.ReloadChannel)
	received := make(chan any) // only receive sends; unbuffered, so that a slow OnEvent slows reading from Redis
	var wg sync.WaitGroup
	wg.Go(func() { receive(ctx, pubsub, received) })
	defer wg.Wait()
	defer pubsub.Close() //nolint:errcheck // closing ends the read in receive; nothing depends on the error
	defer cancel()

	ticker := time.NewTicker(w.opts.PollInterval)
	defer ticker.Stop()
	heard := true // the server has sent something since the last ping
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-received:
			heard = true
			switch msg := msg.(type) {
			case *redis.Subscription:
				w.poll(ctx)
			case *redis.Message:
				w.deliver(ctx, msg.Payload)
			}
		case <-ticker.C:
			w.poll(ctx)
			if !heard {
				w.log.WarnContext(ctx, "no answer on the reload channel; subscribing again")
				return
			}
			heard = false
			ping(ctx, pubsub)
			ticker.Reset(w.opts.PollInterval) // a slow poll must not shorten the server's time to answer the ping
		}
	}
}

// receive sends the messages of pubsub to received until ctx ends. After an error, pubsub subscribes again by itself.
func receive(ctx context.Context, pubsub *redis.PubSub, received chan<- any) {
	for {
		msg, err := pubsub.Receive(ctx)
		if err != nil {
			select {
			case <-time.After(retryPause):
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case received <- msg:
		case <-ctx.Done():
			return
		}
	}
}

// ping asks the server to answer on the subscription's connection. The session checks for the answer, so the error does
// not matter.
func ping(ctx context.Context, pubsub *redis.PubSub) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_ = pubsub.Ping(ctx)
}

// deliver delivers an event from the channel, even if a poll has delivered an entry with the same score, because a
// published event means that its target has just changed.
func (w *Watcher) deliver(ctx context.Context, payload string) {
	ev, err := tenant.ParseEvent([]byte(payload))
	if err != nil {
		w.refuse(err)
		return
	}
	w.remember(ev.Member(), ev.At)
	w.emit(ctx, ev, PubSub)
}

func (w *Watcher) emit(ctx context.Context, ev tenant.Event, way Way) {
	w.metrics.reloads.WithLabelValues(string(ev.Type), string(way)).Inc()
	w.opts.OnEvent(ctx, ev, way)
}

func (w *Watcher) remember(member string, at time.Time) {
	if len(w.seen) >= maxSeen {
		clear(w.seen) // some entries may be delivered twice, which does no harm
	}
	w.seen[member] = at
}

// refuse counts a malformed event. It logs at most one in a poll interval, because other programs may write anything to
// the channel.
func (w *Watcher) refuse(err error) {
	w.metrics.errors.Inc()
	if now := time.Now(); now.Sub(w.malformed) >= w.opts.PollInterval {
		w.malformed = now
		w.log.Warn("malformed config event; check who writes it", "err", err)
	}
}

// poll delivers the entries of the change log that this watcher has not seen.
func (w *Watcher) poll(ctx context.Context) {
	now, entries, err := w.read(ctx)
	if ctx.Err() != nil {
		return // shutting down
	}
	if err != nil {
		w.metrics.errors.Inc()
		if !w.away {
			w.away = true
			w.log.WarnContext(ctx, "cannot read the config change log; changes are late until Redis is back", "err", err)
		}
		return
	}
	missed := w.missed(now) || len(entries) > maxChanges
	if w.away {
		w.away = false
		w.log.InfoContext(ctx, "the config change log is readable again")
	}
	w.last = now
	if missed {
		clear(w.seen)
		w.log.WarnContext(ctx, "config changes may have been missed; reloading all", "entries", len(entries))
		w.emit(ctx, tenant.Event{Type: tenant.GlobalChanged, At: now}, Poll)
		return
	}
	for _, z := range entries {
		w.found(ctx, z)
	}
	maps.DeleteFunc(w.seen, func(_ string, at time.Time) bool { return at.Before(now.Add(-pollTolerance)) })
}

// missed reports whether the change log may lack changes that this watcher has not seen. That is so if the process
// started while Redis was away, if the last poll was longer ago than the log keeps entries, or if the clock of Redis
// was set back.
func (w *Watcher) missed(now time.Time) bool {
	if w.last.IsZero() {
		return w.away
	}
	return now.Sub(w.last) > store.ChangesKept || now.Before(w.last.Add(-pollTolerance))
}

// read reads the entries of the change log since the last poll. The first poll reads the last minute, in which this
// process started.
func (w *Watcher) read(ctx context.Context) (now time.Time, entries []redis.Z, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if now, err = w.rdb.Time(ctx).Result(); err != nil {
		return now, nil, err
	}
	since := w.last
	if since.IsZero() || now.Before(since) {
		since = now
	}
	entries, err = w.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
		Key:     store.ChangesKey,
		ByScore: true,
		Start:   since.Add(-pollTolerance).UnixMilli(),
		Stop:    "+inf",
		Count:   maxChanges + 1,
	}).Result()
	return now, entries, err
}

// found delivers an entry of the change log if it is new.
func (w *Watcher) found(ctx context.Context, z redis.Z) {
	member, _ := z.Member.(string)
	at := time.UnixMilli(int64(z.Score)).UTC()
	if was, ok := w.seen[member]; ok && was.Equal(at) {
		return
	}
	if len(member) > maxMember {
		w.refuse(fmt.Errorf("entry of %d bytes, at most %d are accepted", len(member), maxMember))
		return
	}
	w.remember(member, at)
	ev, err := tenant.ParseMember(member, at)
	if err != nil {
		w.refuse(err)
		return
	}
	w.emit(ctx, ev, Poll)
}
