package idempotency

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nuid"
	"github.com/redis/go-redis/v9"

	"arrakis/shard"
)

// Store remembers requests. It is safe for concurrent use.
type Store struct {
	// Set by New, read-only.
	rdb     redis.UniversalClient
	o       Options
	metrics *metrics

	calls  *shard.Mailbox[*call] // callers put, Run takes
	memory *memory
	// failing says whether Redis did not answer the last question. So only changes are logged.
	failing atomic.Bool
}

// New makes a Store and starts nothing. The caller closes rdb after [Store.Run] has returned. The error names every bad
// option, or says that the Registerer has the metrics already.
func New(rdb redis.UniversalClient, o Options) (*Store, error) {
	o = o.withDefaults()
	err := o.validate()
	if rdb == nil {
		err = errors.Join(errors.New("the Redis client is nil"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("idempotency options: %w", err)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("idempotency metrics: %w", err)
	}
	return &Store{
		rdb: rdb, o: o, metrics: m, calls: shard.NewMailbox[*call](maxQueued), memory: newMemory(o.MemoryBytes),
	}, nil
}

// Result says what [Store.Begin] has found.
type Result uint8

// The results.
const (
	MayRun      Result = iota // nothing is known of the request; it holds Begun.Mark, which must be ended
	Replayed                  // the request was answered; Begun.Answer is the answer
	Mismatch                  // the event ID belongs to another message
	Running                   // the request runs
	Unavailable               // Redis is away, and Options.Closed is set
	numResults  = iota
)

var resultNames = [numResults]string{"new", "replayed", "mismatch", "running", "unavailable"}

// Begun is the answer of [Store.Begin].
type Begun struct {
	Result Result
	Mark   *Mark  // for MayRun, else nil
	Again  bool   // for MayRun: the same message ran before and failed, so it may hold its permit
	Answer Answer // for Replayed
}

// Mark is the right of one request to run. Exactly one of its methods must be called, once. Until then Run renews the
// mark in Redis.
type Mark struct {
	store *Store

	// Set by Begin, read-only.
	record      string // Redis key
	index       string // Redis key
	member      string // of the index
	fingerprint string
	token       string // differs from every other mark's

	asked chan struct{} // closed when Begin knows its result
	found Begun         // that result; read-only once asked is closed

	renewed time.Time // when the mark was last written to Redis; protected by the memory's lock
}

// value is the record of the running request.
func (m *Mark) value() string { return m.fingerprint + " " + running + m.token }

// Begin asks whether the request k with the given message may run. It waits for a round trip to Redis, unless the
// request runs in this process. Run must be running.
func (s *Store) Begin(ctx context.Context, k Key, message []byte) Begun {
	member := k.member()
	m := &Mark{
		store: s, record: recordKey(k.Community, member), index: k.index(), member: member,
		fingerprint: digest(message), token: nuid.Next(), renewed: time.Now(), asked: make(chan struct{}),
	}
	for other := s.memory.begin(m); other != nil; other = s.memory.begin(m) {
		<-other.asked // before that it may be a repetition itself, or have a message that is not the one that ran
		if b, ok := m.like(other); ok {
			s.count(b.Result)
			return b
		}
	}
	b, err := s.ask(ctx, m)
	if b.Mark == nil {
		s.memory.end(m)
	}
	m.found = b
	close(m.asked)
	if s.noteAnswered(err); err != nil && b.Result == MayRun {
		s.count(Unavailable)
	} else {
		s.count(b.Result)
	}
	return b
}

// like is m's result after other's, which has the same event ID. It reports false if m must ask by itself: other was
// not let run, and has another message.
func (m *Mark) like(other *Mark) (Begun, bool) {
	same := other.fingerprint == m.fingerprint
	switch {
	case other.found.Result != MayRun:
		return other.found, same
	case same:
		return Begun{Result: Running}, true
	default:
		return Begun{Result: Mismatch}, true
	}
}

func (s *Store) count(r Result) { s.metrics.results[r].Inc() }

// ask asks Redis. If Redis does not know the request or does not say, the memory of this process decides, and err says
// that Redis did not say.
func (s *Store) ask(ctx context.Context, m *Mark) (b Begun, err error) {
	reply, err := s.begin(ctx, m)
	if err == nil {
		if b, err = m.begun(reply); err == nil && b.Result != MayRun {
			return b, nil
		}
	}
	known, remembers := s.memory.answer(m.record, time.Now())
	failed := remembers && known.mayRun(m)
	if remembers && !failed {
		if err == nil { // Redis has not heard of it, or has lost it
			s.put(ctx, m.keepCalls(known)...)
		}
		b, knownErr := known.begun(m)
		return b, errors.Join(err, knownErr)
	}
	if err != nil && s.o.Closed {
		return Begun{Result: Unavailable}, err
	}
	return Begun{Result: MayRun, Mark: m, Again: b.Again || failed}, err
}

// begun reads the reply of begin.lua.
func (m *Mark) begun(reply string) (Begun, error) {
	switch {
	case reply == replyNew, reply == replyAgain:
		return Begun{Result: MayRun, Mark: m, Again: reply == replyAgain}, nil
	case reply == replyMismatch:
		return Begun{Result: Mismatch}, nil
	case len(reply) >= len(running) && reply[:len(running)] == running:
		return Begun{Result: Running}, nil
	}
	a, err := parseAnswer(reply)
	if err != nil {
		return Begun{}, fmt.Errorf("key %s: %w", m.record, err)
	}
	return Begun{Result: Replayed, Answer: a}, nil
}

// mayRun reports whether the message of m has failed before, and so may run again.
func (r *remembered) mayRun(m *Mark) bool { return r.state == failed && r.fingerprint == m.fingerprint }

// begun is the result for a request whose key is remembered in memory.
func (r *remembered) begun(m *Mark) (Begun, error) {
	if r.fingerprint != m.fingerprint {
		return Begun{Result: Mismatch}, nil
	}
	return m.begun(r.state)
}

// Run identifies this run of the request among all with its event ID.
func (m *Mark) Run() string { return m.token }

// Keep keeps the answer of the request. The channel that it returns is closed when every process knows the answer, or
// Redis did not take it; then only this process knows it.
func (m *Mark) Keep(ctx context.Context, a Answer) <-chan struct{} {
	return m.keep(ctx, a.state(m.store.o.MaxAnswer))
}

// Fail says that the message ran and failed, so that it holds its permit. It may be tried again, but no other message
// may use its event ID: that one would not be charged. The channel is as for Keep.
func (m *Mark) Fail(ctx context.Context) <-chan struct{} { return m.keep(ctx, failed) }

// keep keeps a state of the record.
func (m *Mark) keep(ctx context.Context, state string) <-chan struct{} {
	r := remembered{fingerprint: m.fingerprint, state: state, until: time.Now().Add(m.store.o.Keep)}
	m.store.memory.keep(m.record, r)
	return m.end(ctx, m.keepCalls(r)...)
}

// Forget makes the request unknown: it was not charged, and may be tried again with any message. The channel is as
// for Keep.
func (m *Mark) Forget(ctx context.Context) <-chan struct{} {
	return m.end(ctx, newCall(putScript, m.record, m.value(), putForget))
}

// Drop says that nobody here waits for the request's end any more. It counts as running until its mark expires.
func (m *Mark) Drop() { m.store.memory.end(m) }

// end queues the calls and then lets requests with the same key ask Redis, behind the calls.
func (m *Mark) end(ctx context.Context, calls ...*call) <-chan struct{} {
	m.store.put(ctx, calls...)
	m.store.memory.end(m)
	return calls[0].ended
}

// keepCalls are the calls that write an answer.
func (m *Mark) keepCalls(r remembered) []*call {
	o := &m.store.o
	keep := o.Keep.Milliseconds()
	return []*call{
		newCall(putScript, m.record, m.value(), putKeep, keep, r.fingerprint+" "+r.state),
		newCall(indexScript, m.index, m.member, max(1, (len(r.state)+1023)/1024), o.MaxPerCommunity, keep),
	}
}

// noteAnswered logs when Redis begins to be unavailable, and when it answers again.
func (s *Store) noteAnswered(err error) {
	switch {
	case err == nil && s.failing.Load():
		if s.failing.CompareAndSwap(true, false) {
			s.o.Logger.Info("event IDs of HTTP clients are looked up in redis again")
		}
	case errors.Is(err, shard.ErrClosed), errors.Is(err, context.Canceled): // the process ends
	case err != nil && !s.failing.Swap(true):
		consequence := "a repeated request runs again in each process that does not know it"
		if s.o.Closed {
			consequence = "requests with an event ID are refused"
		}
		s.o.Logger.Warn("event IDs of HTTP clients cannot be looked up", "consequence", consequence, "err", err)
	}
}
