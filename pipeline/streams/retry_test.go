package streams_test

import (
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// That RETRY is nearly full is said once, and once that it is not any more.
func TestRetryIsNearlyFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure()
	s, err := w.js.Stream(t.Context(), contract.StreamRetry)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxBytes = 100_000
	if _, err := w.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.keep()
	bytes := func() float64 {
		families, err := w.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "arrakis_retry_bytes" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	w.publishBody("retry.COMMANDS.1.1", make([]byte, 85_000))
	testserver.Eventually(t, "the metric shows it", func() bool { return bytes() > 85_000 })
	const begins, ends = "the stream is nearly full", "the stream is not nearly full any more"
	if w.logged.Count(begins) > 0 {
		t.Error("it is said too early")
	}
	w.publishBody("retry.COMMANDS.2.1", make([]byte, 10_000))
	testserver.Eventually(t, "it is said", func() bool { return w.logged.Count(begins) == 1 })
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "it is said that it is over", func() bool { return w.logged.Count(ends) == 1 })
	if n := w.logged.Count(begins); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

func (w *world) publishBody(subject string, body []byte) {
	w.t.Helper()
	if _, err := w.js.Publish(w.t.Context(), subject, body); err != nil {
		w.t.Fatal(err)
	}
}
