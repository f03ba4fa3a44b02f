package pipeline

import (
	"context"
	"fmt"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// BenchmarkMove is one message of a community in a lane, from its stream to its lane. The server is in this process.
//
//	go test -run - -bench Move -benchtime 100000x ./pipeline
func BenchmarkMove(b *testing.B) {
	w := setup(b)
	if _, _, err := w.store.UpgradeTier(b.Context(), "big", tenant.Enterprise); err != nil {
		b.Fatal(err)
	}
	w.handlers.Command("stats", func(ctx context.Context, _ *Message) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	w.options = func(o *Options) { o.Shards = 64 }
	w.drain = time.Second
	w.ensure()
	w.openLane("big")
	for i := range b.N {
		if _, err := w.js.PublishAsync("commands.interaction", fmt.Appendf(nil, typical, i, "big"), patient); err != nil {
			b.Fatal(err)
		}
	}
	<-w.js.PublishAsyncComplete()
	b.ReportAllocs()
	b.ResetTimer()
	w.start()
	testserver.Eventually(b, "all messages are moved", func() bool { return w.stored(contract.StreamCommands) == 0 })
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
