package lanes

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics says the same in every process, but for full.
type metrics struct {
	lanes, messages, bytes, age, full prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &metrics{
		lanes: gauge("arrakis_lanes",
			"Communities whose messages of one kind wait in a lane, because they are over their due. The same in every process."),
		full: gauge("arrakis_lanes_full",
			"Communities of which this process had a message in the last minute that found no room in OVERFLOW."),
		messages: gauge("arrakis_lane_messages", "Messages in all lanes. The same in every process."),
		bytes:    gauge("arrakis_lane_bytes", "Bytes of the messages in all lanes. The same in every process."),
		age:      gauge("arrakis_lane_age_seconds", "Time that the oldest message in a lane has been there. The same in every process."),
	}
}

// see stores what a look has found.
func (m *metrics) see(o *overflow) {
	m.messages.Set(float64(o.messages))
	m.bytes.Set(float64(o.bytes))
	m.age.Set(o.oldest.Seconds())
}
