package idempotency

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"arrakis/loadtest/testserver"
)

// roundTrips is how many round trips a store has made.
func roundTrips(tb testing.TB, s *Store) uint64 {
	tb.Helper()
	var m dto.Metric
	if err := s.metrics.roundTrip.Write(&m); err != nil {
		tb.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := testserver.Miniredis(t)
	s := start(t, testserver.ConnectRedis(t, m.Addr()), Options{Registerer: registry})
	mark := begin(t, s, key, first, MayRun).Mark
	begin(t, s, key, first, Running)
	<-mark.Keep(t.Context(), pong)
	begin(t, s, key, []byte("other"), Mismatch)
	begin(t, s, key, first, Replayed)
	begin(t, s, key, first, Replayed)
	m.SetError("LOADING")
	begin(t, s, Key{"comm_001", "command", "e2"}, first, MayRun).Mark.Drop()
	want := `
# HELP arrakis_idempotency_total Requests with an event ID of the client's, by what was known of it; unavailable is that Redis did not say.
# TYPE arrakis_idempotency_total counter
arrakis_idempotency_total{result="mismatch"} 1
arrakis_idempotency_total{result="new"} 1
arrakis_idempotency_total{result="replayed"} 2
arrakis_idempotency_total{result="running"} 1
arrakis_idempotency_total{result="unavailable"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "arrakis_idempotency_total"); err != nil {
		t.Error(err)
	}
	if _, err := New(s.rdb, Options{Health: s.o.Health, Registerer: registry}); err == nil {
		t.Error("a registry took the metrics twice")
	}
}
