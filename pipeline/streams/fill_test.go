package streams_test

import (
	"fmt"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// How full a stream is, and how old its oldest message. A stream that is gone has no series.
func TestFill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure()
	w.publish("commands.x", 2)
	w.keep()
	series := func(name string) map[string]float64 {
		families, err := w.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]float64{}
		for _, f := range families {
			if f.GetName() == name {
				for _, m := range f.GetMetric() {
					found[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
		return found
	}
	commands := func(name string) float64 { return series(name)[contract.StreamCommands] }
	testserver.Eventually(t, "two messages are counted", func() bool { return commands("arrakis_stream_messages") == 2 })
	testserver.Succeeds(t, "its bytes are counted", func() error {
		if bytes, most := commands("arrakis_stream_bytes"), commands("arrakis_stream_max_bytes"); bytes < 2_000 || most != 4<<30 {
			return fmt.Errorf("%v of %v bytes, want more than 2000 of 4 GiB", bytes, most)
		}
		return nil
	})
	testserver.Eventually(t, "the oldest message grows older", func() bool { return commands("arrakis_stream_oldest_seconds") > 0.2 })
	for _, stream := range []string{
		contract.StreamEvents, contract.StreamEligibility, contract.StreamRetry, contract.StreamOverflow, contract.StreamDeadLetter,
	} {
		testserver.Eventually(t, stream+" is empty, and its oldest message is 0 s old", func() bool {
			age, ok := series("arrakis_stream_oldest_seconds")[stream]
			return ok && age == 0
		})
	}

	s, err := w.js.Stream(t.Context(), contract.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxBytes = -1
	if _, err := w.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "a stream without a bound has no such series", func() bool {
		_, bounded := series("arrakis_stream_max_bytes")[contract.StreamEvents]
		return !bounded
	})
	if err := w.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "a stream that is gone has no series", func() bool {
		_, exists := series("arrakis_stream_messages")[contract.StreamCommands]
		return !exists
	})
}
