package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
	"arrakis/loadtest/program"
)

// startPoll is how often a starting process is asked whether it is ready.
const startPoll = 2 * time.Millisecond

// start times `arrakis serve` from its start until it takes messages, with many tenants in Redis.
func (b *bench) start(ctx context.Context) error {
	if b.arrakis == "" {
		b.say("start: left out, for there is no arrakis binary: use go run ./loadtest bench")
		return nil
	}
	if err := b.servers.prepare(ctx, workload.Tiers, b.configs, jetstream.FileStorage); err != nil {
		return err
	}
	var took report.Series
	for round := range b.runs {
		d, err := b.startOnce(ctx)
		if err != nil {
			return err
		}
		took = append(took, d.Seconds())
		b.say("start, run %d of %d: ready after %.3f s", round+1, b.runs, d.Seconds())
	}
	t := &report.Table{
		Title:   "`arrakis serve` from start to ready",
		Columns: []string{"tenants in Redis", "s", "min .. max"},
	}
	tenants := report.Count(float64(b.configs))
	t.Add(tenants, report.Decimal(took.Median()), took.Spread(report.Decimal))
	b.report.Tables = append(b.report.Tables, t)
	b.target(report.Target{Name: "start: to ready with " + tenants + " tenants", Got: took, Most: 1, Unit: " s"})
	return nil
}

// startOnce starts a process, waits until it is ready, and ends it.
func (b *bench) startOnce(ctx context.Context) (time.Duration, error) {
	httpAddr, err := program.FreeAddr()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	cmd, said := newProcess(ctx, b.arrakis, "serve", "--nats-url", b.servers.natsURL,
		"--redis-url", "redis://"+b.servers.redisAddr, "--http-addr", httpAddr, "--ops-addr", "127.0.0.1:0", "--ingress-auth", "none")
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start arrakis: %w", err)
	}
	err = poll(ctx, startPoll, func() (bool, error) { return ready(ctx, httpAddr), nil })
	took := time.Since(began)
	cancel()
	_ = cmd.Wait() // its end is asked for
	if err != nil {
		return 0, said.explain(fmt.Errorf("arrakis serve is not ready: %w", err))
	}
	return took, nil
}

// ready asks a worker whether it takes messages.
func ready(ctx context.Context, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return false
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return reply.Body.Close() == nil && reply.StatusCode == http.StatusOK
}
