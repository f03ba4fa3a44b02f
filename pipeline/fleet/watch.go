package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
)

const (
	// stateInterval is the time between two states.
	stateInterval = time.Second
	// lookInterval is the time between two looks at JetStream and Redis, and lookTimeout bounds one.
	lookInterval = 2 * time.Second
	lookTimeout  = 5 * time.Second
	// firstWait is how long the first state waits for the first look.
	firstWait = 2 * time.Second
	// maxUnread bounds the heartbeats that wait to be read by this process.
	maxUnread = 4 * MaxWorkers
)

// errNotYet is what is wrong before the first look has ended.
var errNotYet = errors.New("JetStream and Redis have not answered yet")

// WatcherOptions configures a [Watcher]. All fields but Streams are required.
type WatcherOptions struct {
	JetStream jetstream.JetStream
	Redis     redis.UniversalClient
	Health    *redishealth.Health
	Streams   streams.Options // the settings that the streams are compared with
	Logger    *slog.Logger
}

// Watcher watches the fleet. NewWatcher starts nothing. One of its methods may run at a time.
type Watcher struct {
	o       WatcherOptions
	records *streams.Records
	table   *table

	mu     sync.Mutex // protects looked
	looked looked
}

// looked is what JetStream and Redis have said.
type looked struct {
	at          time.Time // zero: never
	streams     []streams.Status
	lanes       []lanes.Status
	deadLetters DeadLetters
	err         error // of the last look; the fields above are of the last that had none
}

// NewWatcher makes a Watcher. NATS and Redis may be away.
func NewWatcher(o WatcherOptions) *Watcher {
	return &Watcher{o: o, records: streams.NewRecords(o.Redis, o.Health), table: newTable(), looked: looked{err: errNotYet}}
}

// Run calls each with the state of the fleet about once a second until ctx ends, the first time when JetStream and Redis
// have answered, or after two seconds. What they say is no older than two seconds while they answer; State.Faults says
// when they do not.
// It returns an error only if the connection to NATS is closed.
func (w *Watcher) Run(ctx context.Context, each func(*State)) error {
	stop, err := w.listen()
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var looks sync.WaitGroup
	defer looks.Wait()
	first := make(chan struct{})
	looks.Go(func() {
		defer cancel()
		w.readAndLook(ctx)
		close(first)
		every(ctx, lookInterval, func() { w.look(ctx) })
	})
	wait := time.NewTimer(firstWait)
	defer wait.Stop()
	select {
	case <-first:
	case <-wait.C: // whoever watches must see workers meanwhile: their heartbeats need no JetStream
	case <-ctx.Done():
		return nil
	}
	each(w.state(time.Now()))
	every(ctx, stateInterval, func() { each(w.state(time.Now())) })
	cancel()
	return nil
}

// every calls f each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if ctx.Err() == nil {
				f()
			}
		}
	}
}

// Look returns the state of the fleet now. Where INTERNAL does not keep heartbeats, it listens until each worker must have
// sent one. An error is one of JetStream, or ctx's.
func (w *Watcher) Look(ctx context.Context) (*State, error) {
	stop, err := w.listen()
	if err != nil {
		return nil, err
	}
	defer stop()
	all := time.NewTimer(Interval + Interval/4)
	defer all.Stop()
	if !w.readAndLook(ctx) {
		select {
		case <-all.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return w.state(time.Now()), w.looked.err
}

// readAndLook reads what INTERNAL keeps and looks for the first time, both at once: each may take lookTimeout. It returns
// false if it cannot read.
func (w *Watcher) readAndLook(ctx context.Context) (read bool) {
	var look sync.WaitGroup
	look.Go(func() { w.look(ctx) })
	read = w.readKept(ctx)
	look.Wait()
	return read
}

// listen hears heartbeats as they are published, until stop is called. A subscription without JetStream goes on when
// INTERNAL is lost, and when NATS was away.
func (w *Watcher) listen() (stop func(), err error) {
	sub, err := w.o.JetStream.Conn().Subscribe(subjectPrefix+"*", func(m *nats.Msg) { w.hear(m.Subject, m.Data, 0) })
	if err != nil {
		return nil, fmt.Errorf("listen to heartbeats: %w", err)
	}
	_ = sub.SetPendingLimits(maxUnread, maxUnread*maxHeartbeat/8) // it is valid
	return func() { _ = sub.Unsubscribe() }, nil                  // the connection may be closed
}

// hear takes in a heartbeat of the given age.
func (w *Watcher) hear(subject string, data []byte, age time.Duration) {
	h, err := parse(subject, data)
	if err != nil {
		w.o.Logger.Debug("not a heartbeat", "subject", contract.Clip(subject, maxText), "err", err)
		return
	}
	w.table.put(h, age, time.Now())
}

// readKept reads the heartbeats that INTERNAL keeps. It returns false if it cannot.
func (w *Watcher) readKept(ctx context.Context) bool {
	if !w.o.JetStream.Conn().IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := w.readLast(ctx)
	if err != nil && ctx.Err() == nil {
		w.o.Logger.DebugContext(ctx, "read the heartbeats that are kept", "err", err)
	}
	return err == nil
}

// readLast reads the last heartbeat of each worker from INTERNAL. Their ages are by the server's clock alone.
func (w *Watcher) readLast(ctx context.Context) error {
	s, err := w.o.JetStream.Stream(ctx, contract.StreamInternal)
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	if info.State.Msgs == 0 {
		return nil
	}
	began := time.Now()
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subjectPrefix + "*", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * lookTimeout,
	})
	if err != nil {
		return err
	}
	defer func() { _ = s.DeleteConsumer(context.WithoutCancel(ctx), c.CachedInfo().Name) }() // it ends by itself too
	// The oldest come first: many of them can be of workers that are gone, so more are read than the table keeps.
	left := int(c.CachedInfo().NumPending) //nolint:gosec // a count of messages
	if left > maxUnread {
		left = maxUnread
		w.table.refuse(time.Now())
	}
	const batch = 200
	for left > 0 {
		messages, err := c.Fetch(min(left, batch), jetstream.FetchMaxWait(publishTimeout))
		if err != nil {
			return err
		}
		read := 0
		for m := range messages.Messages() {
			read++
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			w.hear(m.Subject(), m.Data(), max(0, info.TimeStamp.Sub(meta.Timestamp)+time.Since(began)))
		}
		if left -= read; read == 0 {
			return errors.Join(messages.Error(), ctx.Err())
		}
	}
	return nil
}

// look asks JetStream and Redis.
func (w *Watcher) look(ctx context.Context) {
	found, err := w.ask(ctx)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.looked.err = err
		return
	}
	w.looked = found
}

func (w *Watcher) ask(ctx context.Context) (looked, error) {
	js := w.o.JetStream
	if !js.Conn().IsConnected() {
		return looked{}, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	l := looked{at: time.Now()}
	var err error
	if l.streams, err = streams.Look(ctx, js, w.records, w.o.Streams); err != nil {
		return l, err
	}
	if l.lanes, err = lanes.Look(ctx, js, w.o.Redis, w.o.Health, ""); err != nil {
		return l, err
	}
	i := slices.IndexFunc(l.streams, func(s streams.Status) bool { return s.Stream == contract.StreamDeadLetter })
	if i < 0 || !l.streams[i].Exists || l.streams[i].Messages == 0 {
		return l, nil
	}
	l.deadLetters, err = lookAtDeadLetters(ctx, js)
	return l, err
}

// lookAtDeadLetters counts the dead letters by reason, and finds the age of the oldest. DEADLETTER also holds marks of
// replays, on other subjects.
func lookAtDeadLetters(ctx context.Context, js jetstream.JetStream) (DeadLetters, error) {
	d := DeadLetters{ByReason: map[contract.Reason]uint64{}}
	s, err := js.Stream(ctx, contract.StreamDeadLetter)
	if err != nil {
		return d, err
	}
	all := contract.DeadLetterSubject("*", "*")
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(all))
	if err != nil {
		return d, err
	}
	for _, stream := range contract.Streams() {
		for _, reason := range contract.Reasons() {
			if n := info.State.Subjects[contract.DeadLetterSubject(stream, reason)]; n > 0 {
				d.ByReason[reason] += n
				d.Messages += n
			}
		}
	}
	if d.Messages == 0 {
		return d, nil
	}
	oldest, err := s.GetMsg(ctx, info.State.FirstSeq, jetstream.WithGetMsgSubject(all))
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) { // not found: it was replayed or purged since
		return d, err
	}
	if err == nil {
		d.Oldest = max(0, info.TimeStamp.Sub(oldest.Time))
	}
	return d, nil
}

// state is the state of the fleet at now.
func (w *Watcher) state(now time.Time) *State {
	s := &State{At: now.UTC()}
	s.Workers, s.More = w.table.all(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &w.looked
	s.Streams, s.Lanes, s.DeadLetters = l.streams, l.lanes, l.deadLetters
	switch {
	case l.err == nil:
	case l.at.IsZero():
		s.Faults = append(s.Faults, fmt.Sprintf("streams and lanes are not known: %s", contract.Clip(streams.Explain(l.err).Error(), maxText)))
	default:
		s.Faults = append(s.Faults, fmt.Sprintf("streams and lanes are as they were %s ago: %s",
			now.Sub(l.at).Round(time.Second), contract.Clip(streams.Explain(l.err).Error(), maxText)))
	}
	return s
}
