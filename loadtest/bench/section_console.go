package main

import (
	"context"
	"fmt"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
)

// openedConsoles is how many consoles are open in the section console.
const openedConsoles = 10

// console measures what open consoles take from a worker, and how long a page of tenants takes while the worker has more
// to do than it can.
func (b *bench) console(ctx context.Context) error {
	closed := variant{"no console", pipelineRun{mix: workload.Steady, communities: b.many, warm: 1, ops: true, takes: b.watched}}
	open := closed
	open.name, open.consoles = contender.Name(fmt.Sprintf("%d consoles", openedConsoles)), openedConsoles
	all, err := b.variants(ctx, "console", []variant{closed, open})
	if err != nil {
		return err
	}
	pages := all.of(open.name, p99)
	b.showVariants(&report.Table{
		Title: fmt.Sprintf("arrakis with open consoles, %s tenants", report.Count(float64(b.many))),
		Notes: []string{
			fmt.Sprintf("Each console watches the live overview, and searches the tenants every %s. The worker, its consoles' "+
				"clients, nats-server and redis-server share the machine.", pagesEvery),
			fmt.Sprintf("A page of tenants: p50 %s ms, p99 %s ms (%s).",
				report.Decimal(all.of(open.name, p50).Median()), report.Decimal(pages.Median()), pages.Spread(report.Decimal)),
		},
	}, "console", []variant{closed, open}, all)
	b.target(report.Target{
		Name: "console: rate with 10 consoles of that without", Got: all.of(open.name, rate).Over(all.of(closed.name, rate)), Least: 0.98, Unit: "x",
	})
	b.target(report.Target{Name: "console: page of tenants, p99", Got: pages, Most: 100, Unit: " ms"})
	return nil
}
