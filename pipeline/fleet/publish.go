package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/contract"
)

const (
	// publishTimeout bounds one publish, and the look at INTERNAL after one that failed.
	publishTimeout = time.Second
	// lastTimeout bounds the last publish: the process ends.
	lastTimeout = 250 * time.Millisecond
	// maxFailures is how many publishes in a row must fail for it to be logged: a worker that starts makes INTERNAL first.
	maxFailures = 3
	// longestPause is the longest time between two tries to make INTERNAL, or to publish without the right to.
	longestPause = time.Minute
)

// PublisherOptions configures [Publish]. All fields are required, but for Registerer.
type PublisherOptions struct {
	JetStream jetstream.JetStream
	// Beat makes a heartbeat. Publish numbers it. It may take as long as health checks do.
	Beat func(ctx context.Context) *Heartbeat
	// Missing says that INTERNAL does not exist. It does not block.
	Missing func()
	Logger  *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// Publish publishes a heartbeat every Interval until ctx ends, and then a last one, which is Stopped. It returns within a
// second after that. Where INTERNAL is missing, whoever listens still hears the heartbeats.
func Publish(ctx context.Context, o PublisherOptions) {
	p := newPublisher(o)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		p.publish(ctx, o.Beat(ctx))
		select {
		case <-ctx.Done():
			p.last(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
	}
}

// publisher is the state of Publish.
type publisher struct {
	PublisherOptions
	beat     uint64
	sent     *Heartbeat    // the last one
	failures int           // in a row
	failed   string        // what was logged of them last
	pause    time.Duration // before INTERNAL is reported missing again
	next     time.Time     // when to report it again
	denied   time.Time     // until when not to publish

	kept, missed prometheus.Counter
}

func newPublisher(o PublisherOptions) *publisher {
	total := promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_heartbeats_total", Help: "Heartbeats of this worker that INTERNAL keeps (kept), and those that it does not (failed).",
	}, []string{"result"})
	return &publisher{PublisherOptions: o, kept: total.WithLabelValues("kept"), missed: total.WithLabelValues("failed")}
}

// publish publishes a heartbeat. Without a connection it does not: the NATS library would send it later.
func (p *publisher) publish(ctx context.Context, h *Heartbeat) {
	p.beat++
	h.Beat = p.beat
	p.sent = h
	nc, now := p.JetStream.Conn(), time.Now()
	if ctx.Err() != nil {
		return
	}
	if !nc.IsConnected() || now.Before(p.denied) {
		p.missed.Inc()
		return
	}
	before := nc.LastError()
	err := p.send(ctx, h, publishTimeout)
	switch {
	case err == nil:
		p.kept.Inc()
		if p.failed != "" {
			p.Logger.InfoContext(ctx, "heartbeats are kept again")
		}
		p.failures, p.failed, p.pause, p.next = 0, "", 0, time.Time{}
		return
	case ctx.Err() != nil:
		return
	case refused(nc, before, subject(h.ID)):
		p.denied = now.Add(longestPause) // each try would be an error in the log
	}
	p.missed.Inc()
	what := "INTERNAL does not take them"
	if p.gone(ctx) {
		if what = "INTERNAL does not exist"; !now.Before(p.next) {
			p.Missing()
			p.pause = min(max(2*p.pause, Interval), longestPause)
			p.next = now.Add(p.pause)
		}
	}
	if p.failures++; p.failures >= maxFailures && p.failed != what {
		p.failed = what
		p.Logger.WarnContext(ctx, "heartbeats of this worker are not kept: arrakis status may not show it", "why", what, "err", err)
	}
}

// refused reports whether the server has refused a publish on the subject since the error before was the connection's last.
// The server answers such a publish with an error of the connection alone, which stays its last one until there is another.
func refused(nc *nats.Conn, before error, subject string) bool {
	last := nc.LastError()
	isNew := last != before //nolint:errorlint // the same error, not one like it
	return isNew && errors.Is(last, nats.ErrPermissionViolation) &&
		strings.Contains(last.Error(), strconv.Quote(subject)) // the library has no other way to tell
}

// gone reports whether INTERNAL does not exist. A publish does not tell it while somebody listens to heartbeats.
func (p *publisher) gone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := p.JetStream.Stream(ctx, contract.StreamInternal)
	return errors.Is(err, jetstream.ErrStreamNotFound)
}

// last says that the worker has stopped.
func (p *publisher) last(ctx context.Context) {
	if p.sent == nil || !p.JetStream.Conn().IsConnected() {
		return
	}
	h := *p.sent
	h.Beat++
	h.State, h.Faults, h.Activity = Stopped, nil, Activity{}
	_ = p.send(ctx, &h, lastTimeout) // if it is lost, the worker counts as lost, and soon as gone
}

func (p *publisher) send(ctx context.Context, h *Heartbeat, timeout time.Duration) error {
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode a heartbeat: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err = p.JetStream.Publish(ctx, subject(h.ID), data, jetstream.WithRetryAttempts(0))
	return err
}
