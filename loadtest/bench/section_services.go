package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
)

// serviceContenders hand every message to a handler service.
var serviceContenders = []contender.Name{contender.Plain, contender.PlainHeaders, contender.ArrakisServices}

// services compares arrakis with a loop that only asks a handler service and acknowledges, without headers and with those
// that arrakis sends. The service is the same process for all runs.
func (b *bench) services(ctx context.Context) error {
	if err := b.servers.newStream(ctx, jetstream.MemoryStorage); err != nil {
		return err
	}
	service, err := startChild(ctx, contender.Spec{Contender: contender.HandlerService, NATS: b.servers.natsURL, Redis: b.servers.redisAddr})
	if err != nil {
		return err
	}
	defer service.kill()
	r := pipelineRun{mix: workload.Open, communities: workload.Communities, warm: 1}
	ways := make([]variant, len(serviceContenders))
	for i, c := range serviceContenders {
		r.contender = c
		ways[i] = variant{c, r}
	}
	all, err := b.variants(ctx, "services", ways)
	if err != nil {
		return err
	}
	ours := all.of(contender.ArrakisServices, rate)
	withHeaders := ours.Over(all.of(contender.PlainHeaders, rate))
	b.showVariants(&report.Table{
		Title: "Handlers over NATS, stream in memory, no limits",
		Notes: []string{
			"plain consumes, sends each message to the handler service with 256 in flight, and acknowledges it: no " +
				"limits, tenants, headers, retries or metrics. plain-headers sends the same seven headers with each message, which " +
				"arrakis's contract with services asks for. arrakis-services has 256 handlers. All use the same service. " +
				"CPU s/M: CPU seconds of the contender for a million messages, without the service.",
			fmt.Sprintf("arrakis-services: %s of the rate of plain-headers (%s).",
				report.Decimal(withHeaders.Median()), withHeaders.Spread(report.Decimal)),
		},
	}, "services", ways, all)
	b.target(report.Target{
		Name: "services: of the plain loop's rate", Got: ours.Over(all.of(contender.Plain, rate)), Least: 0.9, Unit: "x",
	})
	b.target(report.Target{
		Name: "services: CPU a message", Got: all.of(contender.ArrakisServices, cpu), Most: 10, Unit: " µs",
	})
	_, err = service.stop()
	return err
}
