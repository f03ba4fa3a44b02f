package limiter

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// maxKeyFaults is how many keys with a fault are remembered, so as to log each only once in a while.
const maxKeyFaults = 1024

// Limiter admits messages by exact sliding windows that all processes share in Redis. It is safe for concurrent use.
type Limiter struct {
	// set by New, read-only
	rdb      redis.UniversalClient
	o        Options
	m        *metrics
	start    time.Time // zero of the fallback's clock
	now      func() time.Time
	clock    func() int64 // the scripts' clock in unix ms, nil for that of Redis; set by tests
	fallback *fallback

	// breaker counts failed round trips and paces the probes. Whether messages ask Redis is up to fallback.away, which
	// follows the breaker when it opens but leads it when it closes: only then is the change atomic with the merge.
	breaker   *gobreaker.TwoStepCircuitBreaker[any]
	keyFaults *lru.Cache[string, time.Time] // when the fault of a key was last logged
	wake      chan struct{}                 // size 1: sent by messages that Redis failed, received by Run; a hint, dropped when full
}

// New returns a Limiter on the given client, which stays the caller's to close. It starts nothing and does not touch
// Redis. It fails on options out of range and on a Registerer that has the metrics already.
func New(rdb redis.UniversalClient, o Options) (*Limiter, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("limiter options: %w", err)
	}
	l := &Limiter{rdb: rdb, o: o, now: time.Now, wake: make(chan struct{}, 1)}
	l.start = l.now()
	var err error
	if l.m, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("limiter metrics: %w", err)
	}
	if l.fallback, err = newFallback(o, l.m); err != nil {
		return nil, fmt.Errorf("limiter fallback: %w", err)
	}
	if l.keyFaults, err = lru.New[string, time.Time](maxKeyFaults); err != nil {
		return nil, fmt.Errorf("limiter key faults: %w", err)
	}
	l.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name:          "redis",
		Timeout:       o.ProbeInterval / 2, // over by the next probe
		ReadyToTrip:   func(c gobreaker.Counts) bool { return int64(c.ConsecutiveFailures) >= int64(o.Failures) },
		IsExcluded:    func(err error) bool { return errors.Is(err, errCallerGone) },
		OnStateChange: l.onBreaker,
	})
	if !obeysContext(rdb) {
		o.Logger.Warn("redis client ignores the limiter's timeout, set ContextTimeoutEnabled", "timeout", o.Timeout)
	}
	return l, nil
}

// obeysContext reports whether the client ends a round trip at its context's deadline.
func obeysContext(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	default:
		return true // unknown
	}
}

// onBreaker is called by the breaker under its own lock, on every change of its state.
func (l *Limiter) onBreaker(_ string, _, to gobreaker.State) {
	if to != gobreaker.StateOpen || !l.fallback.setAway() {
		return
	}
	l.m.degraded.Set(1)
	l.o.Logger.Warn("redis is away, limits are decided without it", "policy", l.o.OnRedisDown.String())
}

// Degraded reports whether messages are decided without Redis because it is away.
func (l *Limiter) Degraded() bool { return l.fallback.away.Load() }

// sinceStart converts a time to the fallback's clock.
func (l *Limiter) sinceStart(now time.Time) time.Duration { return now.Sub(l.start) }

// AllowBatch sets the verdict of every request. All that must ask Redis do so in one pipelined round trip, with one
// script call for each key and limit, in the order of the batch. The caller owns the windows; see Window.
//
// A rejection or an outage of Redis is a verdict. An error means that no verdict holds: the error of ctx when it ended
// first (permits may have been taken; a message delivered again finds its own), or, before any permit is taken, the
// faults of invalid requests.
func (l *Limiter) AllowBatch(ctx context.Context, batch []*Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range batch {
		if err := r.validate(); err != nil {
			return fmt.Errorf("limiter: %w", err)
		}
	}
	now := l.now()
	r := rounds.Get().(*round)
	defer r.release()
	if rejects := l.decideLocally(r, batch, now); rejects > 0 {
		l.m.localRejects.Add(float64(rejects))
	}
	if r.n == 0 || l.fallback.decideIfAway(r.inUse(), l.sinceStart(now)) {
		return nil
	}
	return l.ask(ctx, r, now)
}

// decideLocally decides what needs no Redis and puts the rest into the round. It returns the number of local rejects.
func (l *Limiter) decideLocally(r *round, batch []*Request, now time.Time) (rejects int) {
	admitAll := l.o.OnRedisDown == Open && l.Degraded()
	for _, req := range batch {
		switch req.Limit.Max {
		case Unlimited:
			req.Verdict = unlimitedVerdict()
			continue
		case 0:
			req.Verdict = noneVerdict(req.Limit)
			continue
		}
		if !req.Replay && !admitAll {
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

// ask makes the batch's round trip and decides what of it failed by the policy.
func (l *Limiter) ask(ctx context.Context, r *round, sent time.Time) error {
	calls := r.inUse()
	away := l.roundTrip(ctx, func() error {
		l.exec(ctx, allowScript, allowSource, r.prepare(l.o.Prefix, l.clockArg()))
		received := l.now()
		var away error
		for _, c := range calls {
			if c.settle(sent, received); c.fault == faultAway {
				away = c.err
			}
		}
		return away
	})
	l.m.batchSize.Observe(float64(r.messages()))
	if away != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	for _, c := range calls {
		if c.fault == faultKey {
			l.logKeyFault(ctx, c.window.key, c.err)
		}
	}
	l.fallback.settle(calls, l.sinceStart(l.now()))
	if away != nil {
		select { // Run merges what was admitted just now
		case l.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// roundTrip runs trip, times it, and reports its outcome to the breaker: an error of trip means that Redis is away. It
// returns that error.
func (l *Limiter) roundTrip(ctx context.Context, trip func() error) error {
	// An open breaker does not count: messages obey fallback.away, which was still false just now.
	done, open := l.breaker.Allow()
	began := time.Now()
	err := trip()
	l.m.roundTrip.Observe(time.Since(began).Seconds())
	if open != nil {
		return err
	}
	if err != nil && ctx.Err() != nil {
		done(errCallerGone)
		return err
	}
	done(err)
	return err
}

// Allow asks for one permit for each ID, in order, and returns a verdict for each. It is AllowBatch without local state:
// every call asks Redis, and IDs that hold their permit are recognised. Errors are those of AllowBatch.
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
