package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/contract"
)

// sampleTimeout bounds what a look at a stream asks of JetStream.
const sampleTimeout = 4 * time.Second

// KeeperOptions configures a [Keeper]. Registerer and Interval may be zero.
type KeeperOptions struct {
	JetStream jetstream.JetStream
	Records   *Records
	// DeadLetter stores a message of a stream that no worker gets as a dead letter. cause says why. It may be called again
	// for the same message.
	DeadLetter func(ctx context.Context, stream string, m *jetstream.RawStreamMsg, cause string) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer // of the Keeper's metrics
	// Interval is the time between two looks at a stream, over all processes. Defaults to 5 s.
	Interval time.Duration
}

// A Keeper looks at the streams of the routes every few seconds. It keeps the ack floors of their consumers in
// [Records], counts what the streams drop unread, and makes dead letters of messages that no worker gets: because
// nobody reads their subject, or because the NATS library does not pass them on. Of all processes one at a time looks;
// while Redis is away, each looks for itself, and only remembers the floors. Each looks how full the streams are.
type Keeper struct {
	o       KeeperOptions
	dropped *prometheus.CounterVec
	fill    *fill
	retry   prometheus.Gauge         // bytes in RETRY
	again   map[string]*atomic.Int64 // by stream: deliveries that were not a message's first, not yet in Redis

	// Owned by Run.
	warned    map[string]time.Time // by stream and warning: when it was last logged
	readings  map[string]reading   // by consumer
	letters   map[string]letter    // by stream and consumer or pattern: a message that has not been deleted yet
	retryFull bool                 // RETRY is nearly full, which has been logged; for judgeRetry
}

// NewKeeper makes a Keeper and registers its metrics. It starts nothing.
func NewKeeper(o KeeperOptions) *Keeper {
	o.Interval = cmp.Or(o.Interval, 5*time.Second)
	k := &Keeper{
		o: o, again: map[string]*atomic.Int64{},
		warned: map[string]time.Time{}, readings: map[string]reading{}, letters: map[string]letter{},
		dropped: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "arrakis_unread_dropped_total",
			Help: "Messages that a stream dropped by age or size before a worker saw them. Each is counted by one process.",
		}, []string{"stream"}),
		fill: newFill(o.Registerer),
		retry: promauto.With(o.Registerer).NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_retry_bytes", Help: "Bytes in the stream RETRY. The same in every process.",
		}),
	}
	k.o.Logger = o.Logger.With("component", "streams")
	for _, stream := range watched() {
		k.again[stream] = new(atomic.Int64)
		k.dropped.WithLabelValues(stream)
	}
	return k
}

// Redelivered returns the counter to which a worker adds each delivery of a message of the stream that is not the
// message's first. The stream must be one of [contract.Streams], or OVERFLOW.
func (k *Keeper) Redelivered(stream string) *atomic.Int64 { return k.again[stream] }

// watched are the streams that the Keeper looks at: those that can drop messages that nobody has handled. A message of
// OVERFLOW that no worker can see, or that no consumer reads, is not looked for: only workers store messages there, and
// its consumers are made as they are needed.
func watched() []string { return append(contract.Streams(), contract.StreamOverflow) }

// Run looks until ctx ends. It does not decide whether the process is ready: the monitor of package pipeline does, and
// the Keeper never.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(k.o.Interval)
	defer tick.Stop()
	for {
		k.lookAtAll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookAtAll looks at all streams and then sweeps them: the floors of one do not wait for the sweep of another.
func (k *Keeper) lookAtAll(ctx context.Context) {
	debug := func(stream string, err error) {
		if err != nil && ctx.Err() == nil {
			k.o.Logger.DebugContext(ctx, "look at a stream", "stream", stream, "err", err)
		}
	}
	k.lookAtFill(ctx)
	var found []*finding
	for _, stream := range watched() {
		f, err := k.look(ctx, stream)
		if debug(stream, err); f != nil {
			found = append(found, f)
		}
	}
	for _, f := range found {
		f.budget = budget{maxSwept, time.Now().Add(sweepTime)}
		k.sweepHidden(ctx, f)
		if f.search {
			debug(f.stream, k.search(ctx, f))
		}
	}
}

// finding is what a look at a stream has found, and what is still to be done.
type finding struct {
	stream string
	sample *sample
	all    []string // filters of all consumers; see Keeper.sample
	turn   turn     // zero while Redis is away
	before tally
	search bool // the stream may hold messages that nobody reads; the tally waits for the sweep
	budget budget
}

// look looks at a stream, if it is this process's turn. It keeps the floors, and the tally if no search must come
// first. It returns nil if another process looks, or if the stream does not answer.
func (k *Keeper) look(ctx context.Context, stream string) (*finding, error) {
	k.countRedelivered(ctx, stream)
	// A little less than the interval, so that a process whose ticks come early does not miss every second one.
	mine, away := k.o.Records.look(ctx, stream, k.o.Interval*4/5)
	if away == nil && mine.version == "" {
		return nil, nil
	}
	s, all, err := k.sample(ctx, stream)
	if err != nil {
		return nil, err
	}
	f := &finding{stream: stream, sample: s, all: all, turn: mine}
	fields := k.floors(s)
	if away != nil {
		return f, away
	}
	if s.missing { // what it has delivered is not known
		_, err := k.o.Records.save(ctx, stream, &f.turn, fields...)
		return f, err
	}
	// A tally that cannot be read, because somebody has written to it, begins anew.
	f.before, _ = parseTally(mine.tally)
	after, added := f.before.next(s, mine.redelivered, mine.swept)
	if f.search = k.shouldSearch(s, all, &f.before, signed(added)+after.Excess); f.search {
		_, err := k.o.Records.save(ctx, stream, &f.turn, fields...)
		return f, err
	}
	return f, k.saveTally(ctx, f, &after, added, fields...)
}

// search makes dead letters of messages that nobody reads, and then keeps the tally: on some streams they look like
// dropped ones.
func (k *Keeper) search(ctx context.Context, f *finding) error {
	after, added := f.before.next(f.sample, f.turn.redelivered, f.turn.swept)
	swept, ended := k.sweepStrays(ctx, f)
	if !f.sample.workQueue() { // on a work queue, the messages of this sweep are not gone in the sample
		total, err := k.o.Records.number(ctx, f.stream, fieldSwept) // with those of other processes
		if !ended || err != nil {
			return err // what is left would be counted
		}
		after, added = f.before.next(f.sample, f.turn.redelivered, total)
	}
	if ended {
		after.Last = f.sample.stream.State.LastSeq
	}
	if ended && swept == 0 {
		after.Searched = f.sample.stream.TimeStamp
	}
	return k.saveTally(ctx, f, &after, added)
}

// saveTally keeps the tally and other fields of the record, and reports what was dropped, unless another look was
// stored since.
func (k *Keeper) saveTally(ctx context.Context, f *finding, after *tally, added uint64, fields ...any) error {
	text, err := json.Marshal(after)
	if err != nil {
		return err
	}
	saved, err := k.o.Records.save(ctx, f.stream, &f.turn, append(fields, fieldTally, text)...)
	if saved {
		k.report(ctx, f.stream, &f.before, after, added)
	}
	return err
}

// countRedelivered adds this process's redeliveries to those in Redis.
func (k *Keeper) countRedelivered(ctx context.Context, stream string) {
	n := k.again[stream].Swap(0)
	if n > 0 && k.o.Records.add(ctx, stream, fieldRedelivered, n) != nil {
		k.again[stream].Add(n) // next time
	}
}

// report counts and logs what a stream has dropped: once when it begins and once when it ends.
func (k *Keeper) report(ctx context.Context, stream string, before, after *tally, added uint64) {
	k.dropped.WithLabelValues(stream).Add(float64(added))
	switch {
	case after.Dropping && !before.Dropping:
		k.o.Logger.ErrorContext(ctx, "the stream drops messages that no worker has seen, by age or size: more workers or a larger bound are needed",
			"stream", stream, "dropped", added, "total", after.Dropped)
	case before.Dropping && !after.Dropping:
		k.o.Logger.InfoContext(ctx, "the stream drops no more unread messages", "stream", stream, "total", after.Dropped)
	}
}

// sample reads the stream and its consumers. all are the filters of all consumers, whoever has made them. They are nil
// if a consumer did not answer, because then nobody can say which messages are not read.
func (k *Keeper) sample(ctx context.Context, stream string) (s *sample, all []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	handle, err := k.o.JetStream.Stream(ctx, stream)
	if err != nil {
		return nil, nil, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	first := *handle.CachedInfo() // a copy: the handle overwrites it
	s = &sample{stream: &first}
	ours, routes := map[string]bool{}, []string(nil)
	for _, r := range contract.Routes() {
		if r.Stream == stream {
			ours[r.Consumer] = true
			routes = append(routes, r.Filter())
		}
	}
	all = slices.Clone(routes)
	var found int
	list := handle.ListConsumers(ctx)
	for c := range list.Info() {
		found++
		all = append(all, filters(&c.Config)...)
		// A consumer of others counts if it has messages that no route has. On a work queue it cannot have any other.
		if ours[c.Name] || s.workQueue() || !overlap(filters(&c.Config), routes) {
			s.consumers = append(s.consumers, c)
		}
		delete(ours, c.Name)
	}
	if err := list.Err(); err != nil {
		return nil, nil, fmt.Errorf("look at the consumers of %s: %w", stream, err)
	}
	if s.after, err = handle.Info(ctx); err != nil {
		return nil, nil, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	s.missing = len(ours) > 0 || found < s.stream.State.Consumers
	if s.missing {
		all = nil
	}
	return s, all, nil
}

func filters(c *jetstream.ConsumerConfig) []string {
	switch {
	case c.FilterSubject != "":
		return []string{c.FilterSubject}
	case len(c.FilterSubjects) > 0:
		return c.FilterSubjects
	default:
		return []string{">"}
	}
}

// floors remembers the ack floors of the consumers of a stream, and returns them as fields of the record. A work queue
// needs none: what is acknowledged is gone.
func (k *Keeper) floors(s *sample) (fields []any) {
	if s.workQueue() {
		return nil
	}
	for _, c := range s.consumers {
		p := place{created: s.stream.Created, at: s.stream.TimeStamp, floor: c.AckFloor.Stream}
		k.o.Records.note(s.stream.Config.Name, c.Name, p)
		fields = append(fields, fieldFloor+c.Name, p.String())
	}
	return fields
}
