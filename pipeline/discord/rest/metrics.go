package rest

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/discord"
)

// Ways in metrics that are no [discord.Way].
const (
	inline     = "inline"
	inProgress = "progress"
	unknownWay = "unknown"
)

// metrics are the series of a Client. The labels are constants of this package and ways of package discord.
type metrics struct {
	answers *prometheus.CounterVec
	seconds *prometheus.HistogramVec

	invalid   atomic.Int64 // calls in the window, when they were last counted
	countedAt atomic.Int64 // unix ms
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	m := &metrics{
		answers: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "arrakis_discord_answers_total",
			Help: "Answers to interactions by way and result; one that is tried again counts each time.",
		}, []string{"way", "result"}),
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "arrakis_discord_request_seconds",
			Help:    "Time of a call of Discord's API.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}, []string{"way"}),
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arrakis_discord_invalid_requests",
		Help: "Calls of the last 10 minutes that count towards a ban by Discord, over all processes; at 5000 no more are made.",
	}, m.invalidNow)
	// The series of answers exist from the start, so that the first one that is not sent shows as an increase.
	for _, way := range []discord.Way{discord.Callback, discord.Edit, discord.FollowUp} {
		for _, r := range []result{sent, expired, dropped, refused, failed, later} {
			m.answers.WithLabelValues(string(way), string(r))
		}
	}
	m.answers.WithLabelValues(inline, string(sent))
	m.answers.WithLabelValues(unstored, string(lost))
	return m
}

func (m *metrics) count(way string, r result) { m.answers.WithLabelValues(way, string(r)).Inc() }

// setInvalid notes how many invalid calls there are in the window.
func (m *metrics) setInvalid(n int64) {
	m.invalid.Store(n)
	m.countedAt.Store(time.Now().UnixMilli())
}

// invalidNow is what was last noted, until all of it has left the window.
func (m *metrics) invalidNow() float64 {
	if time.Since(time.UnixMilli(m.countedAt.Load())) >= invalidWindow {
		return 0
	}
	return float64(m.invalid.Load())
}

// An answer that never came as far as to be sent.
const (
	unstored        = "unstored" // its way
	lost     result = "lost"
)

// CountLost counts an answer that is not sent, because JetStream could not store it.
func (c *Client) CountLost() { c.m.count(unstored, lost) }
