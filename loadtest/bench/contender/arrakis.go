package contender

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline"
	"arrakis/pipeline/worker"
)

// startArrakis starts arrakis as `arrakis serve` does, with a Go handler.
func startArrakis(ctx context.Context, e *env) (*running, error) {
	return e.startWorker(ctx, nil, e.goHandler())
}

// startArrakisServices is startArrakis without the Go handler, so that the handler service is asked.
func startArrakisServices(ctx context.Context, e *env) (*running, error) {
	return e.startWorker(ctx, nil, nil)
}

// startIngress is startArrakis with the HTTP ingress.
func startIngress(ctx context.Context, e *env) (*running, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return e.startWorker(ctx, l, e.goHandler())
}

// goHandler counts; for timed messages it does what they ask for first.
func (e *env) goHandler() *pipeline.Handlers {
	handlers := pipeline.NewHandlers()
	handlers.Command(workload.Command, func(_ context.Context, m *pipeline.Message) (any, error) {
		return nil, e.handle(m.Community)
	})
	for _, command := range timedCommands {
		handlers.Command(command, e.performTimed)
	}
	return handlers
}

// startWorker starts a worker, with its ingress on l unless that is nil, and returns when it takes messages.
func (e *env) startWorker(ctx context.Context, l net.Listener, handlers *pipeline.Handlers) (*running, error) {
	o := worker.Options{NATS: e.nc, Redis: e.rdb, Handlers: handlers, Shards: e.spec.Shards, HTTP: l, Name: "bench", Logger: e.log}
	if e.spec.Ops {
		var err error
		if o.Ops, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	w, err := worker.New(o)
	if err != nil {
		return nil, err
	}
	r := &running{}
	switch {
	case l != nil:
		r.addr = l.Addr().String()
	case o.Ops != nil:
		r.addr = o.Ops.Addr().String()
	}
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return w.Run(ctx) })
	r.stop = func() error {
		cancel()
		return g.Wait()
	}
	ready, enough := context.WithTimeout(ctx, 30*time.Second)
	defer enough()
	if err := w.AwaitReady(ready); err != nil {
		return nil, fmt.Errorf("%w (%w)", err, r.stop())
	}
	return r, nil
}
