package contender

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline"
	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

// arrakisWorker is arrakis in this process, as `arrakis serve` wires it.
type arrakisWorker struct {
	group    *errgroup.Group
	cancel   context.CancelFunc
	registry *prometheus.Registry
}

func startArrakis(ctx context.Context, e *env) (*running, error) {
	w, err := newArrakisWorker(ctx, e)
	if err != nil {
		return nil, err
	}
	return &running{stop: w.stop}, nil
}

// newArrakisWorker starts a worker and returns when it takes messages.
func newArrakisWorker(ctx context.Context, e *env) (*arrakisWorker, error) {
	w := &arrakisWorker{registry: prometheus.NewRegistry()}
	limits, err := limiter.New(e.rdb, limiter.Options{Logger: e.log, Registerer: w.registry})
	if err != nil {
		return nil, err
	}
	handlers := pipeline.NewHandlers()
	handlers.Command(workload.Command, func(_ context.Context, m *pipeline.Message) (any, error) {
		return nil, e.handle(m.Community)
	})
	tenants := store.New(e.rdb, store.Options{Source: "bench", Logger: e.log})
	p, err := pipeline.New(pipeline.Options{
		NATS: e.nc, Tenants: tenants, Limiter: limits, Handlers: handlers, Shards: e.spec.Shards,
		CommandTTL: 15 * time.Minute,
		Logger:     e.log, Registerer: w.registry,
	})
	if err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.group, ctx = errgroup.WithContext(ctx)
	watcher := watch.New(e.rdb, watch.Options{
		Logger: e.log, Registerer: w.registry,
		OnEvent: func(ev tenant.Event, _ watch.Way) {
			if err := p.Reload(ctx, ev); err != nil && ctx.Err() == nil {
				e.log.Error("a change is not in force", "err", err)
			}
		},
	})
	w.group.Go(func() error { return limits.Run(ctx) })
	w.group.Go(func() error { return watcher.Run(ctx) })
	w.group.Go(func() error { return p.Run(ctx) })
	if err := await(ctx, p.Ready); err != nil {
		w.cancel()
		return nil, fmt.Errorf("%w (%w)", err, w.group.Wait())
	}
	return w, nil
}

func (w *arrakisWorker) stop() error {
	w.cancel()
	return w.group.Wait()
}

// await polls until check returns nil, for as long as ctx and 30 s allow.
func await(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
