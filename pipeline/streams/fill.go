package streams

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/contract"
)

// fill says how full the streams are. A stream that does not exist, or does not answer, has no series: an old value would
// look like a stream at rest.
type fill struct {
	messages, bytes, maxBytes, oldest *prometheus.GaugeVec // by stream
}

func newFill(reg prometheus.Registerer) *fill {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help + " The same in every process."}, []string{"stream"})
	}
	return &fill{
		messages: gauge("arrakis_stream_messages", "Messages in a stream."),
		bytes:    gauge("arrakis_stream_bytes", "Bytes in a stream."),
		maxBytes: gauge("arrakis_stream_max_bytes", "Bytes that a stream may hold; no series if it has no bound."),
		oldest: gauge("arrakis_stream_oldest_seconds",
			"Age of the oldest message in a stream. COMMANDS and ELIGIBILITY hold only messages that have not ended."),
	}
}

// filled are the streams whose fill is looked at.
func filled() []string { return append(watched(), contract.StreamRetry, contract.StreamDeadLetter) }

// lookAtFill looks how full the streams are. Each process does, so that each can say it.
func (k *Keeper) lookAtFill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, name := range filled() {
		wg.Go(func() {
			s, err := k.o.JetStream.Stream(ctx, name)
			if err != nil {
				k.o.Logger.DebugContext(ctx, "look at a stream", "stream", name, "err", err)
				k.fill.forget(name)
				return
			}
			k.fill.see(s.CachedInfo())
			if name == contract.StreamRetry {
				k.judgeRetry(ctx, s.CachedInfo())
			}
		})
	}
	wg.Wait()
}

func (f *fill) see(info *jetstream.StreamInfo) {
	name, state := info.Config.Name, &info.State
	f.messages.WithLabelValues(name).Set(float64(state.Msgs))
	f.bytes.WithLabelValues(name).Set(float64(state.Bytes))
	if info.Config.MaxBytes > 0 {
		f.maxBytes.WithLabelValues(name).Set(float64(info.Config.MaxBytes))
	} else {
		f.maxBytes.DeleteLabelValues(name)
	}
	oldest := 0.0
	if state.Msgs > 0 {
		oldest = max(info.TimeStamp.Sub(state.FirstTime).Seconds(), 0) // both by the server's clock
	}
	f.oldest.WithLabelValues(name).Set(oldest)
}

func (f *fill) forget(name string) {
	for _, g := range []*prometheus.GaugeVec{f.messages, f.bytes, f.maxBytes, f.oldest} {
		g.DeleteLabelValues(name)
	}
}
