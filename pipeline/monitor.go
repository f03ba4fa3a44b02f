package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/contract"
)

const (
	// lookInterval is the time between two looks of the monitor at everything. It also bounds the time for which the
	// loss of a consumer, together with its server's storage, can go unnoticed.
	lookInterval = 2 * time.Second
	// lookTimeout bounds one look. A round of looks ends before the next round is due.
	lookTimeout = lookInterval
	// maxMisses is how many looks in a row must fail before JetStream counts as silent. One lost answer is no fault, nor
	// is an election of a leader. A fault is known after 8 s at the latest.
	maxMisses = 3
	// stallTime is how long JetStream may deliver none of a consumer's pending messages.
	stallTime = 10 * time.Second
)

// What can be wrong with a stream or a consumer. A change from one to another is logged.
const (
	faultGone   = "it does not exist"
	faultSilent = "JetStream does not answer"
	faultLeader = "it has no leader"
	faultStall  = "messages are pending, but none is delivered"
	faultOther  = "it cannot be used"
	faultIdle   = "not pulling"
)

// fault says what is wrong with a stream or a consumer. A nil *fault means that nothing is wrong.
type fault struct {
	what   string // one of the constants
	detail string
}

func (f *fault) String() string {
	if f.detail == "" {
		return f.what
	}
	return f.what + ": " + f.detail
}

// monitor looks at JetStream every lookInterval: at the consumers that this process pulls from, and at the stream of
// dead letters. What it finds decides whether the process is ready; each change is logged once.
type monitor struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	ensurer *ensurer
	log     *slog.Logger
	missing chan struct{} // size 1: rounds tell mend that a stream may not exist

	mu      sync.Mutex // protects targets
	targets []*target  // none is ever removed; the slice is replaced when one is added
}

// target is a stream or a consumer that the monitor looks at.
type target struct {
	name   string                           // for people
	source *source                          // of a consumer; nil for a stream
	look   func(ctx context.Context) *fault // one look
	misses int                              // looks in a row that failed; owned by the round
	logged string                           // what was logged last; "" for no fault; owned by the round
	fault  atomic.Pointer[fault]            // written by the round, read by Ready
}

func newMonitor(sources []*source, ensurer *ensurer, log *slog.Logger) *monitor {
	m := &monitor{nc: ensurer.js.Conn(), js: ensurer.js, ensurer: ensurer, log: log, missing: make(chan struct{}, 1)}
	for _, s := range sources {
		m.watch(s)
	}
	// No message can become a dead letter without this stream, which no source reads.
	m.targets = append(m.targets, &target{name: "stream " + contract.StreamDeadLetter, look: func(ctx context.Context) *fault {
		return m.lookAtStream(ctx, contract.StreamDeadLetter)
	}})
	return m
}

// watch makes the consumer of a source a target.
func (m *monitor) watch(s *source) {
	t := &target{name: fmt.Sprintf("consumer %s of %s", s.consumer, s.stream), source: s, look: s.look}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.targets = append(slices.Clone(m.targets), t)
}

// all returns the targets. The caller must not change the slice.
func (m *monitor) all() []*target {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.targets
}

// run looks until ctx ends.
func (m *monitor) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { m.mend(ctx); return nil })
	g.Go(func() error {
		tick := time.NewTicker(lookInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				m.round(ctx)
			}
		}
	})
	return g.Wait()
}

// round looks at all targets at the same time. While NATS is not connected nothing can be learned: the process is not
// ready in any case, and the loss of the connection is logged elsewhere.
func (m *monitor) round(ctx context.Context) {
	if !m.nc.IsConnected() {
		return
	}
	var g errgroup.Group
	for _, t := range m.all() {
		g.Go(func() error {
			limited, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			t.judge(t.look(limited))
			return nil
		})
	}
	_ = g.Wait() // returns nil only
	if ctx.Err() == nil {
		m.logChanges(ctx)
	}
	if m.ensurer.failure.Load() != nil {
		m.ensure() // what it failed for may be well again by itself, and then nobody else would try
	}
}

// judge takes the result of a look. A consumer's pull requests may be lost when JetStream was silent or stalled, and
// the NATS library notices it half a minute later; so they are made again at once.
func (t *target) judge(f *fault) {
	before := t.fault.Load()
	switch {
	case f == nil:
		t.misses = 0
		t.fault.Store(nil)
	case f.what == faultGone || f.what == faultStall:
		t.fault.Store(f)
	default:
		if t.misses++; t.misses >= maxMisses {
			t.fault.Store(f)
		}
	}
	stalled := f != nil && f.what == faultStall && (before == nil || before.what != faultStall)
	answers := f == nil && before != nil && before.what != faultStall
	if t.source != nil && (stalled || answers) {
		t.source.restart(errPullAgain)
	}
}

// lookAtStream looks at a stream that has no consumer of this process. It lets a missing one be created.
func (m *monitor) lookAtStream(ctx context.Context, name string) *fault {
	s, err := m.js.Stream(ctx, name)
	if err == nil {
		return leaderless(s.CachedInfo().Cluster)
	}
	f := faultOf(err)
	if f.what == faultGone {
		m.ensure()
	}
	return f
}

// ensure lets mend create and check the streams.
func (m *monitor) ensure() {
	select {
	case m.missing <- struct{}{}:
	default: // mend is about to
	}
}

// mend creates missing streams until ctx ends.
func (m *monitor) mend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.missing:
		}
		_ = m.ensurer.ensure(ctx) // the ensurer has logged the error and remembers it for Ready
	}
}

// logChanges logs which targets have a new fault and which have none any more since the last round.
func (m *monitor) logChanges(ctx context.Context) {
	var broken, mended, unread, readable []string
	for _, t := range m.all() {
		if t.source != nil && t.source.optional {
			continue // the source itself logs what it must do without
		}
		f := t.fault.Load()
		if f != nil && f.what == faultGone && t.source != nil {
			f = nil // the source itself logs that its consumer is gone
		}
		bad, good := &broken, &mended
		if t.optional() {
			bad, good = &unread, &readable
		}
		switch {
		case f != nil && f.what != t.logged:
			*bad = append(*bad, t.name+": "+f.String())
			t.logged = f.what
		case f == nil && t.logged != "":
			*good = append(*good, t.name)
			t.logged = ""
		}
	}
	if len(broken) > 0 {
		m.log.WarnContext(ctx, "JetStream does not work: not ready", "faults", strings.Join(broken, "; "))
	}
	if len(mended) > 0 {
		m.log.InfoContext(ctx, "JetStream works again", "for", strings.Join(mended, "; "))
	}
	if len(unread) > 0 {
		m.log.WarnContext(ctx, "lanes cannot be read: what waits there is not handled", "faults", strings.Join(unread, "; "))
	}
	if len(readable) > 0 {
		m.log.InfoContext(ctx, "lanes can be read again", "for", strings.Join(readable, "; "))
	}
}

// ready returns nil if nothing is wrong. Otherwise the error says what.
func (m *monitor) ready() error {
	if !m.nc.IsConnected() {
		return nats.ErrDisconnected
	}
	var errs []error
	for _, t := range m.all() {
		if f := t.state(); f != nil && !t.optional() {
			errs = append(errs, fmt.Errorf("%s: %s", t.name, f))
		}
	}
	if why := m.ensurer.failure.Load(); why != nil {
		errs = append(errs, fmt.Errorf("streams cannot be created or checked: %s", *why))
	}
	return errors.Join(errs...)
}

// optional reports whether the process is ready without the target. It is without a lane: a fault there concerns only
// those in the lane, and a process that is not ready serves nobody.
func (t *target) optional() bool { return t.source != nil && (t.source.optional || t.source.lane) }

// state is what is wrong with the target at this moment.
func (t *target) state() *fault {
	if t.source == nil || t.source.pulling.Load() {
		return t.fault.Load()
	}
	f := &fault{what: faultIdle}
	if why := t.source.trouble.Load(); why != nil {
		f.detail = *why
	}
	return f
}

// faultOf is the fault behind an error of a look.
func faultOf(err error) *fault {
	switch {
	case isGone(err):
		return &fault{what: faultGone}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return &fault{what: faultSilent, detail: err.Error()}
	default:
		return &fault{what: faultOther, detail: err.Error()}
	}
}

// leaderless is the fault of a stream or a consumer that has lost its leader. c is nil on a server without a cluster.
func leaderless(c *jetstream.ClusterInfo) *fault {
	if c != nil && c.Leader == "" {
		return &fault{what: faultLeader}
	}
	return nil
}

// stall measures how long JetStream has delivered none of a consumer's pending messages although it could.
type stall struct {
	since     time.Time // of the first look that found this; zero if the last look did not
	delivered uint64    // Delivered.Consumer of that look
}

// see takes the consumer's state at now. JetStream could deliver if this process takes messages (full is false: a full
// mailbox means that this process is behind, and asks for nothing) and if fewer messages than MaxAckPending are
// unacknowledged. Deliveries to other processes count as well: then JetStream works.
func (s *stall) see(info *jetstream.ConsumerInfo, full bool, now time.Time) time.Duration {
	limit := info.Config.MaxAckPending
	could := info.NumPending > 0 && !full && (limit <= 0 || info.NumAckPending < limit)
	if !could {
		s.since = time.Time{}
		return 0
	}
	if s.since.IsZero() || info.Delivered.Consumer != s.delivered {
		s.since, s.delivered = now, info.Delivered.Consumer
	}
	return now.Sub(s.since)
}
