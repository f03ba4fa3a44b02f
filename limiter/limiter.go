package limiter

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
)

const (
	// maxUnusable is how many unusable keys are remembered, so that each is logged only once in unusableInterval.
	maxUnusable = 1024
	// unusableInterval is the time between two logs of the same unusable key.
	unusableInterval = time.Minute
)

// Limiter admits messages by exact sliding windows that all processes share in Redis. It is safe for concurrent use.
type Limiter struct {
	// set by New, read-only
	rdb      redis.UniversalClient
	health   *redishealth.Health
	o        Options
	m        *metrics
	start    time.Time // zero of the fallback's clock
	now      func() time.Time
	clock    func() int64 // the scripts' clock in unix ms; nil: the clock of Redis; set by tests
	scripts  scripts
	fallback *fallback
	sweeper  sweeper

	unusable *lru.Cache[string, time.Time] // when a key was last logged as unusable
	turns    chan struct{}                 // size mergeTrips: held by who merges
	wake     chan struct{}                 // size 1: tells Run that admissions wait to be merged
}

// New returns a Limiter on the given client, which the caller closes. It starts nothing and does not ask Redis. It
// fails on options out of range and on a Registerer that has the metrics already.
func New(rdb redis.UniversalClient, o Options) (*Limiter, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("limiter options: %w", err)
	}
	l := &Limiter{
		rdb: rdb, health: o.Health, o: o, now: time.Now, scripts: productionScripts,
		turns: make(chan struct{}, mergeTrips), wake: make(chan struct{}, 1),
	}
	l.start = l.now()
	var err error
	if l.health == nil {
		l.health, err = redishealth.New(rdb, redishealth.Options{
			ProbeKey: o.Prefix + "probe", Logger: o.Logger.With("policy", o.OnRedisDown.String()), Registerer: o.Registerer,
		})
		if err != nil {
			return nil, err
		}
	}
	l.o.Logger = o.Logger.With("component", "limiter")
	if l.m, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("limiter metrics: %w", err)
	}
	if l.fallback, err = newFallback(o, l.health, l.m); err != nil {
		return nil, fmt.Errorf("limiter fallback: %w", err)
	}
	if l.unusable, err = lru.New[string, time.Time](maxUnusable); err != nil {
		return nil, fmt.Errorf("limiter unusable keys: %w", err)
	}
	return l, nil
}

// Health returns the Health that says whether Redis is away: Options.Health, or the one that New made.
func (l *Limiter) Health() *redishealth.Health { return l.health }

// Degraded reports whether messages are decided without Redis, because Redis is away: on a Cluster, those whose keys
// are on a node that is away; see [redishealth.Health.Nodes].
func (l *Limiter) Degraded() bool { return l.health.Away() }

// sinceStart converts a time to the fallback's clock.
func (l *Limiter) sinceStart(now time.Time) time.Duration { return now.Sub(l.start) }

// AllowBatch sets the verdict of every request. All requests that must ask Redis share one pipelined round trip, with
// one script call or more for each key and limit, in the order of the batch. Keys with admissions that Redis has not
// seen are merged in a round trip before that. What Redis does not answer is asked again, [redishealth.Attempts] times
// at most; then, and while the key's node is away, the policy decides. The caller owns the windows; see Window.
//
// A rejection is a verdict and not an error, also during an outage of Redis. After an error no verdict is valid.
// Errors:
//   - ctx's, if ctx ended first. Permits may have been taken; a message that is delivered again finds its permit.
//   - The faults of invalid requests. No permit was taken.
func (l *Limiter) AllowBatch(ctx context.Context, batch []*Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range batch {
		if err := r.validate(); err != nil {
			return fmt.Errorf("limiter: %w", err)
		}
	}
	r := rounds.Get().(*round)
	defer r.recycle()
	if rejects := l.decideLocally(r, batch, l.now()); rejects > 0 {
		l.m.localRejects.Add(float64(rejects))
	}
	if r.n == 0 {
		return nil
	}
	r.begin(l.o.Prefix)
	for range redishealth.Attempts {
		l.fallback.decideAway(r, l.sinceStart(l.now()))
		if len(r.open) == 0 {
			return nil
		}
		if err := l.ask(ctx, r); err != nil {
			return err
		}
	}
	l.giveUp(r)
	return nil
}

// decideLocally decides the requests that need no Redis and puts all other requests into the round. It returns the
// number of local rejects.
func (l *Limiter) decideLocally(r *round, batch []*Request, now time.Time) (rejects int) {
	admitAll := l.o.OnRedisDown == Open && l.Degraded()
	for _, req := range batch {
		switch {
		case req.Limit.Max == Unlimited:
			req.Verdict = unlimitedVerdict()
			continue
		case req.Limit.none():
			req.Verdict = noneVerdict(req.Limit)
			continue
		}
		mustAsk := req.Repeated || admitAll && l.health.KeyAway(l.o.Prefix+req.Window.key)
		if !mustAsk {
			if v, full := req.Window.Reject(req.Limit, now); full {
				req.Verdict = v
				rejects++
				continue
			}
		}
		r.add(req)
	}
	return rejects
}

// ask asks Redis once for the open calls, and leaves those open that Redis did not answer. An error is ctx's.
func (l *Limiter) ask(ctx context.Context, r *round) error {
	if err := l.mergeOpen(ctx, r); err != nil {
		return err
	}
	calls := r.prepare(l.scripts.allow, l.clockArg())
	if len(calls) == 0 {
		return nil // no key could be merged
	}
	sent := l.now()
	if err := redisscript.Run(ctx, l.rdb, l.health, calls); err != nil {
		return err
	}
	received := l.now()
	l.m.batchSize.Observe(float64(r.messages))
	var answered int64 // by the clock of Redis
	for _, c := range r.open {
		if c.Cmd != nil { // it was asked
			answered = max(answered, c.applyReply(sent, received))
		}
		if c.unusable() {
			l.logUnusable(ctx, c.window.key, c.err)
		}
	}
	if answered > 0 { // once for all calls: shards share this clock
		l.fallback.setClock(answered, l.sinceStart(sent)+received.Sub(sent)/2)
	}
	l.sweeper.note(r.open, l.sinceStart(sent))
	l.fallback.settle(r, l.sinceStart(l.now()))
	return nil
}

// giveUp lets the policy decide on the calls that are still open, and tells Run to merge them.
func (l *Limiter) giveUp(r *round) {
	if len(r.open) == 0 {
		return
	}
	l.fallback.decideOpen(r, l.sinceStart(l.now()))
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// logUnusable logs that a key cannot be used, at most once in unusableInterval for each key.
func (l *Limiter) logUnusable(ctx context.Context, key string, err error) {
	now := l.now()
	if last, ok := l.unusable.Get(key); ok && now.Sub(last) < unusableInterval {
		return
	}
	l.unusable.Add(key, now)
	l.o.Logger.ErrorContext(ctx, "key cannot be used, its limit is decided in memory", "key", l.o.Prefix+key, "err", err)
}

// Allow asks for one permit for each ID, in order, and returns a verdict for each. It is AllowBatch without local
// state: every call asks Redis, and recognises IDs that hold their permit. The errors are those of AllowBatch.
func (l *Limiter) Allow(ctx context.Context, key string, limit Limit, ids ...string) ([]Verdict, error) {
	w := NewWindow(key)
	reqs := make([]Request, len(ids))
	batch := make([]*Request, len(ids))
	for i, id := range ids {
		reqs[i] = Request{Window: w, Limit: limit, ID: id}
		batch[i] = &reqs[i]
	}
	if err := l.AllowBatch(ctx, batch); err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, len(ids))
	for i := range reqs {
		verdicts[i] = reqs[i].Verdict
	}
	return verdicts, nil
}
