package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"sync/atomic"
	"time"

	"arrakis/pipeline"
	"arrakis/pipeline/worker"
)

// demo is the state behind the built-in handlers of `arrakis dev`.
type demo struct {
	worker  *worker.Worker // set before any handler runs
	started time.Time
	handled atomic.Int64 // written and read by handlers
}

// handlers are the handlers of `arrakis dev`: the built-in commands, and enough checks, syncs and events to try every
// route of the ingress.
func (d *demo) handlers() *pipeline.Handlers {
	h := pipeline.NewHandlers()
	for name, f := range d.commands() {
		h.Command(name, d.counted(f))
	}
	for _, checkType := range []string{"single", "batch", "community_sync"} {
		h.Eligibility(checkType, d.counted(d.check))
		h.Sync(checkType, d.counted(d.sync))
	}
	for _, eventType := range []string{"guild.join", "guild.leave", "member.join", "member.leave", "member.update"} {
		h.Event(eventType, d.counted(d.event))
	}
	return h
}

// commands are the built-in commands.
func (d *demo) commands() map[string]pipeline.Handler {
	return map[string]pipeline.Handler{
		"ping": toDiscord(d.ping, d.shownPing), "echo": d.echo, "usage": toDiscord(d.usage, d.shownUsage), "stats": d.stats,
		"sleep": d.sleep, "panel": d.panel,
	}
}

func (d *demo) counted(f pipeline.Handler) pipeline.Handler {
	return func(ctx context.Context, m *pipeline.Message) (any, error) {
		d.handled.Add(1)
		return f(ctx, m)
	}
}

func (d *demo) ping(context.Context, *pipeline.Message) (any, error) {
	return map[string]string{"message": "pong"}, nil
}

// options returns data.options, which the built-in commands read.
func options(m *pipeline.Message) (json.RawMessage, error) {
	var data struct{ Options json.RawMessage }
	if len(m.Data) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(m.Data, &data); err != nil {
		return nil, pipeline.Permanent(http.StatusBadRequest, "data: expected an object with options")
	}
	return data.Options, nil
}

// echo returns data.options, or null.
func (d *demo) echo(_ context.Context, m *pipeline.Message) (any, error) {
	o, err := options(m)
	if o == nil {
		o = json.RawMessage("null")
	}
	return o, err
}

func (d *demo) usage(ctx context.Context, m *pipeline.Message) (any, error) {
	return d.worker.Usage(ctx, m.Tenant)
}

func (d *demo) stats(_ context.Context, m *pipeline.Message) (any, error) {
	return map[string]any{
		"community_id": m.Tenant.ID,
		"tier":         m.Tenant.Tier,
		"features":     append([]string{}, m.Features()...), // an empty list and not null
		"handled":      d.handled.Load(),                    // by this process, for all communities
		"uptime_ms":    time.Since(d.started).Milliseconds(),
	}, nil
}

// fail fails, as a handler does whose database is away. Only the demo traffic has it.
func (d *demo) fail(context.Context, *pipeline.Message) (any, error) {
	return nil, errors.New("the demo command fail always fails")
}

// sleep sleeps for options.ms milliseconds.
func (d *demo) sleep(ctx context.Context, m *pipeline.Message) (any, error) {
	raw, err := options(m)
	if err != nil {
		return nil, err
	}
	var o struct {
		MS int64 `json:"ms"`
	}
	if err := json.Unmarshal(raw, &o); err != nil || o.MS < 0 || o.MS > time.Hour.Milliseconds() {
		return nil, pipeline.Permanent(http.StatusBadRequest, "options.ms: expected a number of milliseconds from 0 to 3600000")
	}
	select {
	case <-time.After(milliseconds(o.MS)):
		return map[string]int64{"slept_ms": o.MS}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("sleep of %d ms: %w", o.MS, context.Cause(ctx))
	}
}

// check finds about half of all users eligible, by a hash of their IDs.
func (d *demo) check(_ context.Context, m *pipeline.Message) (any, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.UserID)) // never fails
	return map[string]any{"check_type": m.CheckType, "eligible": h.Sum32()%2 == 0}, nil
}

func (d *demo) sync(_ context.Context, m *pipeline.Message) (any, error) {
	return map[string]any{"check_type": m.CheckType, "synced": true}, nil
}

func (d *demo) event(_ context.Context, m *pipeline.Message) (any, error) {
	return map[string]string{"event_type": m.EventType}, nil
}
