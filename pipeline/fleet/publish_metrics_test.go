package fleet_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
)

// Heartbeats are counted by whether INTERNAL keeps them.
func TestHeartbeatsAreCounted(t *testing.T) {
	t.Parallel()
	js := testserver.JetStream(t, testserver.NATS(t).Connect(t))
	reg := prometheus.NewRegistry()
	counted := func(result string) float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == result {
					return m.GetCounter().GetValue()
				}
			}
		}
		return 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		fleet.Publish(ctx, fleet.PublisherOptions{
			JetStream: js, Beat: func(context.Context) *fleet.Heartbeat { return &fleet.Heartbeat{ID: "w"} }, Missing: func() {},
			Logger: slog.New(slog.DiscardHandler), Registerer: reg,
		})
	})
	testserver.Eventually(t, "a heartbeat fails without INTERNAL", func() bool { return counted("failed") > 0 })
	if n := counted("kept"); n != 0 {
		t.Errorf("%v heartbeats are kept without INTERNAL", n)
	}
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: contract.StreamInternal, Subjects: []string{"internal.>"}, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "a heartbeat is kept", func() bool { return counted("kept") > 0 })
}
