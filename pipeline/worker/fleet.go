package worker

import (
	"cmp"
	"context"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/fleet"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/view"
	"arrakis/tenant"
)

// heart makes the heartbeats of a worker.
type heart struct {
	w       *Worker
	started time.Time

	// The fields below are owned by the part that publishes.
	beat     fleet.Heartbeat // what is the same in all
	wasReady bool
}

func (w *Worker) newHeart() *heart {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	now := time.Now()
	return &heart{w: w, started: now, beat: fleet.Heartbeat{
		ID: fleet.NewID(host), Host: host, PID: os.Getpid(), Version: w.o.Version, Started: now.UTC(),
		Shards: w.o.Shards, Handlers: w.o.HandlerConcurrency,
	}}
}

// publish publishes heartbeats until ctx ends.
func (h *heart) publish(ctx context.Context) error {
	js, err := jetstream.New(h.w.o.NATS)
	if err != nil {
		return err
	}
	fleet.Publish(ctx, fleet.PublisherOptions{
		JetStream: js, Beat: h.next, Missing: h.w.pipeline.EnsureStreams, Logger: h.w.o.Logger.With("component", "fleet"),
		Registerer: h.w.o.Registry,
	})
	return nil
}

// next makes a heartbeat.
func (h *heart) next(ctx context.Context) *fleet.Heartbeat {
	beat := h.beat
	status, checks := h.w.health.Report(ctx)
	beat.State = h.state(status)
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		if c := checks[name]; c.Status != ops.OK {
			beat.Faults = append(beat.Faults, fleet.NewFault(name, string(c.Status), c.Detail))
		}
	}
	beat.Activity = h.w.pipeline.Activity()
	beat.Uptime = time.Since(h.started).Milliseconds()
	return &beat
}

// state is the state of the worker by what /readyz says.
func (h *heart) state(status string) fleet.Health {
	switch status {
	case "ready", "degraded":
		h.wasReady = true
		return fleet.Health(status)
	case "draining":
		return fleet.Draining
	default:
		if h.wasReady {
			return fleet.NotReady
		}
		return fleet.Starting
	}
}

// newHub makes the hub of those who look at the fleet by this process.
func (w *Worker) newHub(js jetstream.JetStream) *live.Hub {
	return live.New(func(ctx context.Context, each func(*view.Fleet)) {
		watcher := fleet.NewWatcher(fleet.WatcherOptions{
			JetStream: js, Redis: w.o.Redis, Health: w.limiter.Health(), Streams: w.o.Streams, Logger: w.o.Logger.With("component", "fleet"),
		})
		err := watcher.Run(ctx, func(s *fleet.State) { each(view.NewFleet(s)) })
		if err != nil && ctx.Err() == nil {
			w.o.Logger.ErrorContext(ctx, "the fleet cannot be watched", "err", err)
		}
		<-ctx.Done()
	})
}

// changed tells those who look of a change of configuration.
func (w *Worker) changed(e tenant.Event) {
	if w.hub != nil {
		w.hub.Changed(view.Change{Type: string(e.Type), Target: e.TargetID, At: e.At, Source: e.Source})
	}
}

// moduleVersion is the version of the program's module.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "(devel)")
}
