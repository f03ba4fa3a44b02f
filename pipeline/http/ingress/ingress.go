package ingress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/connections"
	"arrakis/pipeline/http/idempotency"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/tracing"
)

// Options are the settings of an [Ingress]. Every field but NATS may be zero.
type Options struct {
	// NATS is the connection for messages and outcomes. Required. The caller closes it after [Ingress.Run] and all
	// requests have ended.
	NATS *nats.Conn
	// Bearer checks the tokens of requests. Defaults to none: every request is accepted.
	Bearer auth.Bearer
	// Idempotency remembers requests whose event ID is the client's. [Ingress.Run] runs it. Defaults to nil: a repeated
	// request runs again.
	Idempotency *idempotency.Store
	// Lanes says which communities are in a lane: messages of those that are unlimited are stored there. Defaults to nil:
	// all messages are stored in the streams of their routes.
	Lanes *lanes.Registry
	// Tracer records messages that are published. Defaults to nil: none.
	Tracer *tracing.Tracer
	// TrustTraces says that the client decides, by the sampled flag of its traceparent, whether its message is recorded. It is
	// always so for clients with a certificate. Defaults to no: the tracer's sampler decides, and without a tracer none is.
	TrustTraces bool
	// MaxBody is the largest body in bytes. Defaults to 65,536 (64 KiB).
	MaxBody int
	// Wait is the longest time that a request waits to be stored and to get its outcome. Defaults to 30 s.
	Wait time.Duration
	// StoreTimeout is the longest time that a request waits for JetStream's ack. Defaults to 5 s, or Wait if that is
	// shorter.
	StoreTimeout time.Duration
	// DrainTimeout is how long requests in flight may go on after Run's context has ended. Defaults to 10 s.
	DrainTimeout time.Duration
	// MaxInFlight bounds the requests that are being stored, or that wait for their outcome. Further requests are
	// answered 503. One community may have a fourth of MaxInFlight; its further requests are answered 503 too. Defaults
	// to 4,096.
	MaxInFlight int
	// MaxReading bounds the requests whose bodies are being read. One more cuts off the one that has been read for the
	// longest. Defaults to 4,096.
	MaxReading int
	// MaxConnections bounds the open connections of [Ingress.Server]. One more closes the one that has waited for a
	// request for the longest. Defaults to 16,384.
	MaxConnections int
	// Logger logs changes of state, and single requests at level debug. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// validate reports all faults at once, with the names of the fields.
func (o *Options) validate() error {
	var errs []error
	if o.NATS == nil {
		errs = append(errs, errors.New("NATS is nil: a connection is required"))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxBody", int64(o.MaxBody)},
		{"Wait", int64(o.Wait)},
		{"StoreTimeout", int64(o.StoreTimeout)},
		{"DrainTimeout", int64(o.DrainTimeout)},
		{"MaxInFlight", int64(o.MaxInFlight)},
		{"MaxReading", int64(o.MaxReading)},
		{"MaxConnections", int64(o.MaxConnections)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: 0 is the default", f.name))
		}
	}
	return errors.Join(errs...)
}

// setDefaults gives every zero field its default.
func (o *Options) setDefaults() {
	o.MaxBody = cmp.Or(o.MaxBody, 64<<10)
	o.Wait = cmp.Or(o.Wait, 30*time.Second)
	o.StoreTimeout = min(cmp.Or(o.StoreTimeout, 5*time.Second), o.Wait)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 4_096)
	o.MaxReading = cmp.Or(o.MaxReading, 4_096)
	o.MaxConnections = cmp.Or(o.MaxConnections, 16_384)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
}

// Ingress is the HTTP side of arrakis. It is safe for concurrent use.
type Ingress struct {
	// Set by New, read-only.
	options Options
	log     *slog.Logger
	js      jetstream.JetStream
	inbox   string // the subjects of outcomes, without the last token
	routes  map[string]*route
	metrics *metrics
	readers *readers
	storing map[string]*storing // by stream
	door    *lanes.Door         // nil without Options.Lanes

	// cutOff is closed by Run when requests in flight must end.
	cutOff chan struct{}

	mu           sync.Mutex // protects the fields below
	phase        phase
	inFlight     int
	perCommunity map[string]*int    // requests in flight by community, above 0
	idle         chan struct{}      // made by Run; closed when inFlight is 0 while draining
	waiting      map[string]*waiter // by token

	numLate          int            // waiters whose client was answered 504
	latePerCommunity map[string]int // the same by community, above 0
}

// phase is the state of an Ingress's life.
type phase uint8

const (
	notRunning phase = iota
	running
	draining
)

// New makes an ingress. It starts nothing, and no server has to be reachable. The error names every bad option.
func New(o Options) (*Ingress, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("ingress options: %w", err)
	}
	o.setDefaults()
	js, err := jetstream.New(o.NATS,
		jetstream.WithPublishAsyncMaxPending(o.MaxInFlight), jetstream.WithPublishAsyncTimeout(o.StoreTimeout))
	if err != nil {
		return nil, fmt.Errorf("ingress: use JetStream: %w", err)
	}
	m := newMetrics(o.Registerer)
	stored := make(map[string]*storing)
	for kind := range contract.Kind(contract.NumKinds) {
		stored[kind.Route().Stream] = &storing{}
	}
	stored[contract.StreamOverflow] = &storing{}
	var door *lanes.Door
	if o.Lanes != nil {
		door = lanes.NewDoor(o.Lanes, js)
	}
	return &Ingress{
		door:         door,
		options:      o,
		log:          o.Logger.With("component", "ingress"),
		js:           js,
		inbox:        contract.ReplyPrefix + nuid.Next(),
		routes:       newRoutes(m),
		metrics:      m,
		readers:      &readers{bound: o.MaxReading, count: m.reading},
		storing:      stored,
		cutOff:       make(chan struct{}),
		perCommunity: make(map[string]*int),
		waiting:      make(map[string]*waiter),

		latePerCommunity: make(map[string]int),
	}, nil
}

// Run subscribes to outcomes and accepts requests until ctx ends. Then it refuses new requests and returns nil when the
// requests in flight have ended. After DrainTimeout it tells them to end. Run may be called once.
func (in *Ingress) Run(ctx context.Context) error {
	idle := make(chan struct{})
	in.mu.Lock()
	if in.idle != nil {
		in.mu.Unlock()
		return errors.New("ingress: Run was called before")
	}
	in.idle = idle
	in.mu.Unlock()

	lasting, stopRemembering := context.WithCancel(context.WithoutCancel(ctx))
	var remembering sync.WaitGroup
	defer remembering.Wait()
	defer stopRemembering() // after the last request
	if in.options.Idempotency != nil {
		remembering.Go(func() { in.options.Idempotency.Run(lasting) })
	}
	sub, err := in.options.NATS.Subscribe(in.inbox+".*", func(m *nats.Msg) { in.deliverOutcome(lasting, m) })
	if err != nil {
		return fmt.Errorf("ingress: subscribe to outcomes: %w", err)
	}
	in.setPhase(running)
	in.log.Info("ingress takes requests",
		"max_in_flight", in.options.MaxInFlight, "wait", in.options.Wait.String(), "auth", in.options.Bearer.Required())
	in.untilDone(ctx)

	in.setPhase(draining)
	in.log.Info("ingress drains", "drain_timeout", in.options.DrainTimeout.String())
	timer := time.NewTimer(in.options.DrainTimeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	close(in.cutOff)
	if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("ingress: unsubscribe from outcomes: %w", err)
	}
	return nil
}

// untilDone returns when ctx ends. Until then it drops late answers that have become too old.
func (in *Ingress) untilDone(ctx context.Context) {
	ticker := time.NewTicker(lateFor / 15)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			in.dropLate(now)
			if in.door != nil {
				in.door.Sweep()
			}
		}
	}
}

// Server makes a server for h, which is [Ingress.Handler] or routes to it. The server's limits keep slow clients from
// holding connections: 5 s for the headers, 10 s for the whole request, 60 s idle, and 16 KiB of headers. An answer may
// take Wait and 20 s more. The server has at most MaxConnections connections.
func (in *Ingress) Server(h http.Handler) *http.Server {
	const read, write = 10 * time.Second, 10 * time.Second
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       read,
		WriteTimeout:      read + in.options.Wait + write, // counted from the end of the headers
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(in.log.Handler(), slog.LevelDebug),
	}
	connections.Limit(s, in.options.MaxConnections)
	return s
}
