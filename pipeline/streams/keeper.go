package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

// sampleTimeout bounds what a look at a stream asks of JetStream, and the making of one dead letter.
const sampleTimeout = 4 * time.Second

// KeeperOptions configures a [Keeper]. Registerer and Interval may be zero.
type KeeperOptions struct {
	JetStream jetstream.JetStream
	Records   *Records
	// DeadLetter stores a message of a stream that no worker gets as a dead letter. cause says why. It may be called again
	// for the same message.
	DeadLetter func(ctx context.Context, stream string, m *jetstream.RawStreamMsg, cause string) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer // of the Keeper's metric
	// Interval is the time between two looks at a stream, over all processes. Defaults to 5 s.
	Interval time.Duration
}

// A Keeper looks at the streams of the routes every few seconds. It keeps the ack floors of their consumers in
// [Records], counts what the streams drop unread, and makes dead letters of messages that no worker gets: because
// nobody reads their subject, or because the NATS library does not pass them on. Of all processes one at a time looks;
// while Redis is away, each looks for itself, and only remembers the floors.
type Keeper struct {
	o       KeeperOptions
	dropped *prometheus.CounterVec
	again   map[string]*atomic.Int64 // by stream: deliveries that were not a message's first, not yet in Redis
	warned  map[string]time.Time     // by stream and kind: when a sweep was last logged; owned by Run
}

// NewKeeper makes a Keeper and registers its metric. It starts nothing.
func NewKeeper(o KeeperOptions) *Keeper {
	o.Interval = cmp.Or(o.Interval, 5*time.Second)
	k := &Keeper{
		o: o, again: map[string]*atomic.Int64{}, warned: map[string]time.Time{},
		dropped: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "arrakis_unread_dropped_total",
			Help: "Messages that a stream dropped by age or size before a worker saw them. Each is counted by one process.",
		}, []string{"stream"}),
	}
	k.o.Logger = o.Logger.With("component", "streams")
	for _, stream := range contract.Streams() {
		k.again[stream] = new(atomic.Int64)
		k.dropped.WithLabelValues(stream)
	}
	return k
}

// Redelivered returns the counter to which a worker adds each delivery of a message of the stream that is not the
// message's first. The stream must be one of [contract.Streams].
func (k *Keeper) Redelivered(stream string) *atomic.Int64 { return k.again[stream] }

// Run looks until ctx ends. It does not decide whether the process is ready: the monitor of package pipeline does, and
// the Keeper never.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(k.o.Interval)
	defer tick.Stop()
	for {
		for _, stream := range contract.Streams() {
			if err := k.look(ctx, stream); err != nil && ctx.Err() == nil {
				k.o.Logger.DebugContext(ctx, "look at a stream", "stream", stream, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look looks at a stream, if it is this process's turn.
func (k *Keeper) look(ctx context.Context, stream string) error {
	k.countRedelivered(ctx, stream)
	// A little less than the interval, so that a process whose ticks come early does not miss every second one.
	mine, away := k.o.Records.look(ctx, stream, k.o.Interval*4/5)
	if away == nil && mine.version == "" {
		return nil
	}
	s, all, err := k.sample(ctx, stream)
	if err != nil {
		return err
	}
	fields := k.floors(s)
	errHidden := k.sweepHidden(ctx, s)
	if away != nil {
		return errors.Join(away, errHidden)
	}
	if s.missing { // what it has delivered is not known
		_, err := k.o.Records.save(ctx, stream, mine, fields...)
		return errors.Join(err, errHidden)
	}
	// A tally that cannot be read, because somebody has written to it, begins anew.
	before, _ := parseTally(mine.tally)
	after, added, errSweep := k.count(ctx, s, all, &before, mine)
	text, err := json.Marshal(after)
	if err != nil {
		return err
	}
	saved, err := k.o.Records.save(ctx, stream, mine, append(fields, fieldTally, text)...)
	if saved {
		k.report(ctx, stream, &before, &after, added)
	}
	return errors.Join(errHidden, errSweep, err)
}

// count returns the tally after the look s. Where the stream may hold messages that nobody reads, count makes dead
// letters of them first, because on some streams they look like dropped ones.
func (k *Keeper) count(ctx context.Context, s *sample, all []string, before *tally, mine turn) (after tally, added uint64, err error) {
	after, added = before.next(s, mine.redelivered, mine.swept)
	if !k.shouldSearch(s, all, before, signed(added)+after.Excess) {
		return after, added, nil
	}
	swept, ended, err := k.sweep(ctx, s, all)
	if !s.workQueue() { // on a work queue, the messages of this sweep are not gone in the sample
		total, errTotal := k.o.Records.number(ctx, s.stream.Config.Name, fieldSwept) // with those of other processes
		if !ended || errTotal != nil {
			return *before, 0, errors.Join(err, errTotal) // what is left would be counted
		}
		after, added = before.next(s, mine.redelivered, total)
	}
	if ended {
		after.Last = s.stream.State.LastSeq
	}
	if ended && swept == 0 {
		after.Searched = s.stream.TimeStamp
	}
	return after, added, err
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
