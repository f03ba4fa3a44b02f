package limiter

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arrakis/loadtest/testserver"
)

// metric returns the value of a gauge, or how many observations a histogram has, of a limiter that newLimiter made.
func metric(t *testing.T, l *Limiter, name string) float64 {
	t.Helper()
	families, err := l.o.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		m := f.GetMetric()[0]
		if h := m.GetHistogram(); h != nil {
			return float64(h.GetSampleCount())
		}
		return m.GetGauge().GetValue()
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// roundTrips returns how many round trips to Redis have been made.
func roundTrips(t *testing.T, l *Limiter) float64 {
	t.Helper()
	return metric(t, l, "arrakis_limiter_round_trip_seconds")
}

func TestExposition(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	reg := prometheus.NewRegistry()
	l := newLimiter(t, s.Addr(), settings{Options: Options{Registerer: reg}}, nil)
	limit := Limit{Max: 2, Window: time.Minute}
	w := NewWindow("k")
	for range 2 {
		batch := []*Request{{Window: w, Limit: limit, ID: "a"}, {Window: w, Limit: limit, ID: "b"}, {Window: w, Limit: limit, ID: "c"}}
		if err := l.AllowBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	want := `# HELP arrakis_limiter_batch_size Messages that asked Redis in one round trip.
# TYPE arrakis_limiter_batch_size histogram
arrakis_limiter_batch_size_bucket{le="1"} 0
arrakis_limiter_batch_size_bucket{le="2"} 0
arrakis_limiter_batch_size_bucket{le="4"} 1
arrakis_limiter_batch_size_bucket{le="8"} 1
arrakis_limiter_batch_size_bucket{le="16"} 1
arrakis_limiter_batch_size_bucket{le="32"} 1
arrakis_limiter_batch_size_bucket{le="64"} 1
arrakis_limiter_batch_size_bucket{le="128"} 1
arrakis_limiter_batch_size_bucket{le="256"} 1
arrakis_limiter_batch_size_bucket{le="512"} 1
arrakis_limiter_batch_size_bucket{le="1024"} 1
arrakis_limiter_batch_size_bucket{le="+Inf"} 1
arrakis_limiter_batch_size_sum 3
arrakis_limiter_batch_size_count 1
# HELP arrakis_limiter_degraded 1 while limits are decided without Redis, else 0.
# TYPE arrakis_limiter_degraded gauge
arrakis_limiter_degraded 0
# HELP arrakis_limiter_local_rejects_total Messages rejected from local state, without Redis.
# TYPE arrakis_limiter_local_rejects_total counter
arrakis_limiter_local_rejects_total 3
# HELP arrakis_limiter_merge_dropped_total Admissions made without Redis and not kept for the merge, because a bound was reached or the key is unusable.
# TYPE arrakis_limiter_merge_dropped_total counter
arrakis_limiter_merge_dropped_total 0
# HELP arrakis_limiter_merged_total Admissions made without Redis and added to it afterwards.
# TYPE arrakis_limiter_merged_total counter
arrakis_limiter_merged_total 0
`
	err := testutil.GatherAndCompare(reg, strings.NewReader(want), "arrakis_limiter_batch_size", "arrakis_limiter_degraded",
		"arrakis_limiter_local_rejects_total", "arrakis_limiter_merged_total", "arrakis_limiter_merge_dropped_total")
	if err != nil {
		t.Error(err)
	}
	if n := roundTrips(t, l); n != 1 {
		t.Errorf("%v round trips counted, want 1", n)
	}
	if _, err := New(l.rdb, Options{Registerer: reg}); err == nil {
		t.Error("New registers the metrics twice")
	}
}
