package contender

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/go-redis/redis_rate/v10"
	golimiter "github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/loadtest/bench/workload"
	"arrakis/shard"
	"arrakis/tenant"
)

const (
	// callers is how many goroutines ask a limiter that takes one message a call.
	callers = 50
	// batchers is how many goroutines ask arrakis's limiter in batches, each for communities of its own, as shards do.
	batchers = 16
	// batch is how many messages they ask for at once: as many as the decode stage sorts at once.
	batch = 256
)

// question is one decision to make.
type question struct {
	community int
	id        string
}

// questions are all decisions of the spec, made before they are timed.
func (e *env) questions() []question {
	picker := workload.NewPicker(uint64(e.spec.Seed), e.spec.Communities)
	all := make([]question, e.spec.Decisions)
	for n := range all {
		all[n] = question{community: picker.Next(), id: workload.EventID(e.spec.Seed, n)}
	}
	return all
}

// singly makes all decisions, one a call, by many goroutines.
func (e *env) singly(all []question, allow func(context.Context, question) (bool, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		var next atomic.Int64
		var g errgroup.Group
		for range callers {
			g.Go(func() error {
				for {
					n := next.Add(1) - 1
					if n >= int64(len(all)) {
						return nil
					}
					allowed, err := allow(ctx, all[n])
					if err != nil {
						return err
					}
					if allowed {
						e.admitted[all[n].community].Add(1)
					}
				}
			})
		}
		return g.Wait()
	}
}

func limitOf(m workload.Mix, community int) limiter.Limit {
	return limiter.Limit{Max: m.Limit(community), Window: workload.Window}
}

func keyOf(community int) string { return shard.Key(workload.ID(community), tenant.Command) }

func nothing() error { return nil }

func startLimiter(_ context.Context, e *env) (*running, error) {
	limits, err := limiter.New(e.rdb, limiter.Options{Logger: e.log})
	if err != nil {
		return nil, err
	}
	groups := make([][]*limiter.Request, batchers)
	communities := make(map[*limiter.Window]int)
	windows := make([]*limiter.Window, e.spec.Communities)
	for i := range windows {
		windows[i] = limiter.NewWindow(keyOf(i))
		communities[windows[i]] = i
	}
	for _, q := range e.questions() {
		g := q.community % batchers
		groups[g] = append(groups[g], &limiter.Request{
			Window: windows[q.community], Limit: limitOf(e.spec.Mix, q.community), ID: q.id,
		})
	}
	decide := func(ctx context.Context) error {
		var g errgroup.Group
		for _, requests := range groups {
			g.Go(func() error { return e.inBatches(ctx, limits, requests, communities) })
		}
		return g.Wait()
	}
	return &running{decide: decide, stop: nothing}, nil
}

// inBatches makes the decisions of one goroutine.
func (e *env) inBatches(
	ctx context.Context, limits *limiter.Limiter, requests []*limiter.Request, communities map[*limiter.Window]int,
) error {
	for len(requests) > 0 {
		n := min(batch, len(requests))
		if err := limits.AllowBatch(ctx, requests[:n]); err != nil {
			return err
		}
		for _, r := range requests[:n] {
			if r.Verdict.Degraded {
				return fmt.Errorf("key %s was decided without Redis", r.Window.Key())
			}
			if r.Verdict.Allowed {
				e.admitted[communities[r.Window]].Add(1)
			}
		}
		requests = requests[n:]
	}
	return nil
}

func startLimiterSingle(_ context.Context, e *env) (*running, error) {
	limits, err := limiter.New(e.rdb, limiter.Options{Logger: e.log})
	if err != nil {
		return nil, err
	}
	decide := e.singly(e.questions(), func(ctx context.Context, q question) (bool, error) {
		v, err := limits.Allow(ctx, keyOf(q.community), limitOf(e.spec.Mix, q.community), q.id)
		if err != nil {
			return false, err
		}
		return v[0].Allowed, nil
	})
	return &running{decide: decide, stop: nothing}, nil
}

func startRedisRate(_ context.Context, e *env) (*running, error) {
	limits := redis_rate.NewLimiter(e.rdb)
	decide := e.singly(e.questions(), func(ctx context.Context, q question) (bool, error) {
		limit := e.spec.Mix.Limit(q.community)
		if limit == workload.Unlimited {
			return true, nil
		}
		r, err := limits.Allow(ctx, workload.ID(q.community), redis_rate.PerMinute(int(limit)))
		if err != nil {
			return false, err
		}
		return r.Allowed > 0, nil
	})
	return &running{decide: decide, stop: nothing}, nil
}

func startGoLimiter(ctx context.Context, e *env) (*running, error) {
	stores := map[int64]golimiter.Store{} // by limit: a store has one for all its keys
	for i := range e.spec.Communities {
		limit := e.spec.Mix.Limit(i)
		if limit == workload.Unlimited || stores[limit] != nil {
			continue
		}
		var err error
		stores[limit], err = memorystore.New(&memorystore.Config{Tokens: uint64(limit), Interval: workload.Window}) //nolint:gosec // above 0
		if err != nil {
			return nil, err
		}
	}
	decide := e.singly(e.questions(), func(ctx context.Context, q question) (bool, error) {
		limit := e.spec.Mix.Limit(q.community)
		if limit == workload.Unlimited {
			return true, nil
		}
		_, _, _, ok, err := stores[limit].Take(ctx, workload.ID(q.community))
		return ok, err
	})
	return &running{decide: decide, stop: func() error {
		for _, s := range stores {
			if err := s.Close(ctx); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}
