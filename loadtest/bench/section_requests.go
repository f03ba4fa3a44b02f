package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
)

// requestServers answer HTTP requests through JetStream.
var requestServers = []contender.Name{contender.Minimal, contender.Ingress}

// warmRequests is how long a server gets requests before they are measured.
const warmRequests = 500 * time.Millisecond

// requests compares the servers on a stream in memory: what the disk does for some of the slowest requests in a hundred
// is neither's.
func (b *bench) requests(ctx context.Context) error {
	all, err := b.inTurn("requests", "req/s", requestServers, func(c contender.Name, round int) (measurement, error) {
		return b.request(ctx, c, b.profileFile("requests-"+string(c), round))
	})
	if err != nil {
		return err
	}
	t := &report.Table{
		Title:   "Request to reply, stream in memory",
		Columns: []string{"server", "req/s at 100", "min .. max", "p50 ms", "p99 ms", "p99 min .. max", "CPU s/M"},
		Notes: []string{"req/s at 100: with 100 connections, each sending its next request when the last is answered. p50, p99: " +
			"at 1,000 requests a second in an open model, from the moment when a request was due. CPU s/M: CPU seconds " +
			"of the server for a million requests. minimal is a server of net/http that publishes to JetStream and " +
			"replies from its consumer, with no limits, no validation and no metrics."},
	}
	var bars []report.Bar
	for _, c := range requestServers {
		rates, late := all.of(c, rate), all.of(c, p99)
		t.Add(string(c), report.Count(rates.Median()), rates.Spread(report.Count),
			report.Decimal(all.of(c, p50).Median()), report.Decimal(late.Median()), late.Spread(report.Decimal),
			report.Decimal(all.of(c, cpu).Median()))
		bars = append(bars, report.Bar{Name: string(c), Values: rates})
	}
	b.table(t, "requests.svg", "requests per second, 100 connections", bars)
	b.target(report.Target{
		Name: "requests: p99 at 1,000/s of the minimal server's",
		Got:  all.of(contender.Ingress, p99).Over(all.of(contender.Minimal, p99)), Most: 1.5, Unit: "x",
	})
	b.target(report.Target{
		Name: "requests: rate at 100 connections of minimal's",
		Got:  all.of(contender.Ingress, rate).Over(all.of(contender.Minimal, rate)), Least: 0.8, Unit: "x",
	})
	return nil
}

// request measures one server: its latency at a fixed rate, then its rate, of which a CPU profile goes to the file
// profile unless that is "".
func (b *bench) request(ctx context.Context, c contender.Name, profile string) (m measurement, err error) {
	if err := b.servers.prepare(ctx, workload.Tiers, workload.Communities, jetstream.MemoryStorage); err != nil {
		return m, err
	}
	server, err := startChild(ctx, contender.Spec{
		Contender: c, NATS: b.servers.natsURL, Redis: b.servers.redisAddr,
		Mix: workload.Tiers, Communities: workload.Communities, Profile: profile,
	})
	if err != nil {
		return m, err
	}
	defer server.kill()
	if _, err := b.servers.release(ctx); err != nil {
		return m, err
	}
	l := &load{addr: server.addr, run: b.servers.nextRun()}
	if _, err := l.saturate(ctx, warmRequests); err != nil {
		return m, err
	}
	latencies, err := l.pace(ctx, b.latency)
	if err != nil {
		return m, err
	}
	m.p50, m.p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
	before, err := server.ask(contender.Start)
	if err != nil {
		return m, err
	}
	if m.rate, err = l.saturate(ctx, b.saturated); err != nil {
		return m, err
	}
	after, err := server.ask(contender.Mark)
	if err != nil {
		return m, err
	}
	m.cpu = (after.CPU - before.CPU).Seconds() / (m.rate * b.saturated.Seconds()) * 1e6
	_, err = server.stop()
	return m, err
}
