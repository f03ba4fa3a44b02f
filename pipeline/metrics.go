package pipeline

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// metrics are the pipeline's metrics, with and without tenant labels. They are made once for a Registerer.
type metrics struct {
	tenants *tenantMetrics

	decode, handle, settle prometheus.Observer // stage latencies
	waits                  [numTiers]prometheus.Observer
	retriesStored          prometheus.Counter
	retriesNak             prometheus.Counter
	parked                 prometheus.Counter
	deadLetters            *prometheus.CounterVec
	deadLettered           atomic.Uint64 // all of them
	permitsKept            prometheus.Counter
	forgotten              prometheus.Counter
	delayed                [tenant.NumActions]prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer, maxTenants int, known *names) *metrics {
	factory := promauto.With(reg)
	stages := factory.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "arrakis_stage_seconds",
		Help:    "Time in a stage: decode and metrics for one batch, handle for one message.",
		Buckets: prometheus.ExponentialBuckets(1e-5, 4, 12), // 10 µs to 40 s
	}, []string{"stage"})
	retries := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_retries_total",
		Help: "Messages to be tried again after a delay: stored in RETRY, or unacknowledged meanwhile after a delayed nak.",
	}, []string{"way"})
	m := &metrics{
		tenants:       newTenantMetrics(maxTenants, known),
		decode:        stages.WithLabelValues("decode"),
		handle:        stages.WithLabelValues("handle"),
		settle:        stages.WithLabelValues("metrics"),
		retriesStored: retries.WithLabelValues("stored"),
		retriesNak:    retries.WithLabelValues("nak"),
		parked: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_dead_letters_parked_total",
			Help: "Messages whose dead letter could not be stored, and which wait in RETRY or OVERFLOW for another try.",
		}),
		forgotten: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_forgotten_total",
			Help: "Messages that waited here while NATS was away for longer than their ack wait: JetStream delivers them again.",
		}),
		permitsKept: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_permits_kept_total",
			Help: "Permits of expired commands that could not be given back: they count until they leave the window.",
		}),
		deadLetters: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "arrakis_dead_letters_total", Help: "Messages stored among the dead letters.",
		}, []string{"stream", "reason"}),
	}
	waits := factory.NewHistogramVec(prometheus.HistogramOpts{
		Name: "arrakis_wait_seconds",
		Help: "Time from when a message was stored first to the start of its handler. " +
			"Messages that wait in a lane, to be tried again or because their limit delays them are not in it.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 30, 60, 300},
	}, []string{"tier"})
	// Every series exists from the start, so that the first dead letter shows as an increase.
	for _, stream := range contract.Streams() {
		for _, reason := range contract.Reasons() {
			m.deadLetters.WithLabelValues(stream, string(reason))
		}
	}
	for i, tier := range tiersByWorth {
		m.waits[i] = waits.WithLabelValues(string(tier))
	}
	delayed := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_delayed_total", Help: "Messages over the limit of their community that were stored in RETRY until a permit is free.",
	}, []string{"action"})
	for a := range m.delayed {
		m.delayed[a] = delayed.WithLabelValues(tenant.Action(a).String())
	}
	if reg != nil {
		reg.MustRegister(m.tenants)
	}
	return m
}

// record counts a batch of messages that have ended. deadLetter counts dead letters, once they are stored.
func (m *metrics) record(batch []*delivery) {
	m.tenants.mu.Lock()
	defer m.tenants.mu.Unlock()
	for _, d := range batch {
		if d.waited > 0 {
			observe(m.waits[worth(d.Tenant.Tier)], d.waited, d.trace)
		}
		if d.settlement != term && d.settlement != carriedOn && d.settlement != untold {
			m.tenants.recordLocked(d)
		}
	}
}

// deadLetter counts a stored dead letter of a stream.
func (m *metrics) deadLetter(d *delivery, stream string) {
	m.givenUp(d)
	m.deadLetterOf(stream, d.reason)
}

// deadLetterOf counts a stored dead letter, of whoever.
func (m *metrics) deadLetterOf(stream string, r contract.Reason) {
	m.deadLettered.Add(1)
	m.deadLetters.WithLabelValues(stream, string(r)).Inc()
}

// givenUp counts for its tenant a message that will become a dead letter. One that was parked has no tenant any more when
// it comes again, and so counts once.
func (m *metrics) givenUp(d *delivery) {
	m.tenants.mu.Lock()
	defer m.tenants.mu.Unlock()
	m.tenants.recordLocked(d)
}

// registerGauges registers gauges whose values are computed at each scrape.
func registerGauges(reg prometheus.Registerer, decode *decodeStage, queue *fairQueue, documents *store.Store) {
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) {
		promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f)
	}
	gauge("arrakis_handle_waiting", "Admitted messages that wait for a handler.", nil, func() float64 {
		waiting, _ := queue.depth()
		return float64(waiting)
	})
	gauge("arrakis_handle_running", "Handlers that run, and messages that were not handled and wait to be stored.", nil, func() float64 {
		_, running := queue.depth()
		return float64(running)
	})
	gauge("arrakis_handle_concurrency", "Handlers that may run at once in this process.", nil, func() float64 {
		return float64(queue.workers)
	})
	gauge("arrakis_intake_bytes", "Bytes of the messages in this process, from decode to their end.", nil, func() float64 {
		return float64(decode.intake.total())
	})
	for _, s := range decode.all() {
		gauge("arrakis_consumer_lag", "Messages that JetStream has not delivered to any worker yet.",
			prometheus.Labels{"stream": s.stream, "consumer": s.consumer},
			func() float64 { return float64(s.pending.Load()) })
	}
	for i, u := range documents.Unusable() {
		gauge("arrakis_config_unusable", "Documents in Redis that cannot be used; the last usable ones are in force.",
			prometheus.Labels{"document": u.Document},
			func() float64 { return float64(documents.Unusable()[i].Count) })
	}
}
