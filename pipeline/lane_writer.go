package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/replies"
	"arrakis/pipeline/streams"
	"arrakis/shard"
)

const (
	// maxMoving and maxMovingBytes bound what is published into lanes and not confirmed yet. What waits for that is
	// bounded where it comes from, at the sources.
	maxMoving      = 4_096
	maxMovingBytes = 16 << 20
	// moveTimeout is how long JetStream has to confirm a message.
	moveTimeout = 5 * time.Second
	// fullDelay is the first delay before a message that its lane had no room for is tried again. The longest is
	// maxFullDelays times as long.
	fullDelay     = 10 * time.Second
	maxFullDelays = 12
	// maxHeldDelay is the same for one that holds a place among the unacknowledged messages meanwhile.
	maxHeldDelay = 15 * time.Second
	// maxRefused bounds the messages that are remembered because their lane had no room for them. There should be more
	// than consumers have unacknowledged.
	maxRefused = 1 << 16
)

// laneWriter moves admitted messages of communities that are in a lane into OVERFLOW: it stores them there, and then
// lets the metrics stage acknowledge their originals. So a message is in one of the two streams at all times. If it is
// in both, because the process has died in between, the original comes again and is stored under the same message ID,
// which JetStream drops; if JetStream has forgotten the ID, the message is handled twice, as any redelivered one may be,
// and charged once. So what may be in its lane is stored again even if its community has its part of OVERFLOW, as long as
// OVERFLOW is not nearly full: elsewhere, JetStream would not recognize it.
//
// Messages are published in the order in which they are put. One that is refused falls behind.
type laneWriter struct {
	// Set by New, read-only.
	nc       *nats.Conn
	registry *lanes.Registry
	missing  func() // says that OVERFLOW does not exist; does not block
	log      *slog.Logger
	// fullDelay is the delay before a message that its lane had no room for is tried again.
	fullDelay time.Duration

	changed  chan change               // size 1: take tells the keeper which community is unlimited now, or not any more
	moves    *shard.Mailbox[*laneMove] // in; closed when no more can come
	moved    *shard.Mailbox[*laneMove] // published and confirmed, or failed; from the replies to settle
	admitted *fairQueue                // out: messages that no lane can take
	ended    *shard.Mailbox[*delivery] // out: all others, with their disposition

	failing bool // messages cannot be stored, which has been logged; owned by settle

	// refused holds the IDs of messages that their lane had no room for: they come again, but are not in it.
	refused *lru.Cache[string, struct{}]

	mu   sync.Mutex                  // protects kept; whoever holds the registry may take it
	kept map[*lanes.Lane][]*delivery // messages of lanes that are closing
}

// change says that a community has become unlimited, or is not any more.
type change struct {
	key    lanes.Key
	direct bool
}

// laneMove is a message on its way into a lane. It counts as entered.
type laneMove struct {
	d       *delivery
	lane    *lanes.Lane
	subject string // the lane's when it was entered
	size    int64  // of the body, as maxMovingBytes counts it
	again   bool   // it may be in the lane already
	err     error  // why it is not stored
}

func newLaneWriter(nc *nats.Conn, registry *lanes.Registry, missing func(), log *slog.Logger,
	admitted *fairQueue, ended *shard.Mailbox[*delivery],
) *laneWriter {
	refused, _ := lru.New[string, struct{}](maxRefused) // an error is a size below 1
	return &laneWriter{
		nc: nc, registry: registry, missing: missing, log: log, fullDelay: fullDelay, admitted: admitted, ended: ended,
		moves: shard.NewMailbox[*laneMove](math.MaxInt), moved: shard.NewMailbox[*laneMove](math.MaxInt),
		kept: map[*lanes.Lane][]*delivery{}, changed: make(chan change, 1), refused: refused,
	}
}

// take takes out of a batch the messages whose communities are in a lane, and returns the others, in their order. It
// does not block. The caller holds the registry.
func (w *laneWriter) take(batch []*delivery) (rest []*delivery) {
	if !w.registry.Any() {
		return batch
	}
	var moves []*laneMove
	rest = batch[:0]
	for _, d := range batch {
		lane := w.registry.Find(lanes.Key{Kind: d.Kind, Community: d.Community})
		if lane != nil {
			w.checkDirect(d, lane)
		}
		switch {
		case lane == nil || !d.movable():
			rest = append(rest, d)
		case lane.Closing():
			w.keep(d, lane)
		default:
			moves = append(moves, enter(d, lane))
		}
	}
	w.put(moves)
	return rest
}

// checkDirect notes that the community of d has become unlimited, or is not any more. Only messages that carry the
// community's own ID can be published straight into its lane.
func (w *laneWriter) checkDirect(d *delivery, lane *lanes.Lane) {
	if d.TenantKey != d.Community || lane.Direct() == goesDirect(d.Kind, d.Tenant) {
		return
	}
	select {
	case w.changed <- change{lane.Key, goesDirect(d.Kind, d.Tenant)}:
	default: // the next message says it again
	}
}

// keep keeps a message of a lane that is closing.
func (w *laneWriter) keep(d *delivery, lane *lanes.Lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept[lane] = append(w.kept[lane], d)
}

// decided hands over what was kept of a lane that is not closing any more: to the fair queue, if the lane was left. No
// message passes meanwhile.
func (w *laneWriter) decided(lane *lanes.Lane, left bool) {
	w.mu.Lock()
	kept := w.kept[lane]
	delete(w.kept, lane)
	w.mu.Unlock()
	if left && w.admitted.put(kept) {
		return
	}
	var moves []*laneMove
	for _, d := range kept {
		moves = append(moves, enter(d, lane))
	}
	w.put(moves) // after an abort, they are given back there
}

// movable reports whether a message may be moved into a lane. One that was read from a lane is at its turn.
func (d *delivery) movable() bool { return !d.source.lane && !d.unmovable }

// enter makes a move of d into the lane. The caller holds the registry.
func enter(d *delivery, lane *lanes.Lane) *laneMove {
	lane.Enter(1)
	return &laneMove{d: d, lane: lane, subject: lane.Subject(), size: min(int64(len(d.Body)), maxMovingBytes)}
}

// put hands over moves, in their order. It does not block.
func (w *laneWriter) put(moves []*laneMove) {
	if len(moves) == 0 {
		return
	}
	if _, err := w.moves.Offer(moves...); err != nil { // there is always room
		panic("pipeline: a message is moved after the stages that move have ended")
	}
}

// run moves until moves is closed and everything is stored or given back.
func (w *laneWriter) run(work context.Context) error {
	mux, err := replies.New(w.nc, replies.Bounds{InFlight: maxMoving})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(work))
	defer stop()
	defer context.AfterFunc(work, stop)() // ends what is on its way
	var g errgroup.Group
	g.Go(func() error { mux.Run(running); return nil })
	g.Go(func() error { return w.settle(work) })

	var moving sync.WaitGroup
	room := semaphore.NewWeighted(maxMovingBytes)
	var batch []*laneMove
	for ok := true; ok; {
		if batch, ok = w.moves.Take(batch); ok {
			for _, m := range batch {
				w.publish(work, mux, m, room, &moving)
			}
		}
	}
	moving.Wait()
	w.moved.Close()
	stop()
	return g.Wait()
}

// publish publishes a message into its lane. It waits while too much is on its way.
func (w *laneWriter) publish(work context.Context, mux *replies.Mux, m *laneMove, room *semaphore.Weighted, moving *sync.WaitGroup) {
	now := time.Now()
	msg := &nats.Msg{Subject: m.subject, Header: m.d.carry(m.d.failed, now), Data: m.d.Body}
	id := m.d.messageID()
	msg.Header[jetstream.MsgIDHeader] = []string{id}
	bytes := contract.Size(msg.Subject, msg.Header, msg.Data)
	if !w.takesRoom(m, id, bytes) {
		m.err = lanes.ErrFull
		_, _ = w.moved.Offer(m) // there is always room, and it is closed after the last one
		return
	}
	ended := func(ack *jetstream.PubAck, err error) {
		m.err = err
		m.lane.Ended(bytes, err == nil && !ack.Duplicate)
		_, _ = w.moved.Offer(m) // as above
	}
	if err := room.Acquire(work, m.size); err != nil {
		ended(nil, err)
		return
	}
	now = time.Now()
	moving.Add(1)
	err := mux.Publish(work, msg, now.Add(moveTimeout), func(ack *jetstream.PubAck, err error) {
		room.Release(m.size)
		ended(ack, err)
		moving.Done()
	})
	if err != nil { // then the function is not called
		room.Release(m.size)
		ended(nil, err)
		moving.Done()
	}
}

// takesRoom takes room in OVERFLOW for a message. It returns false if there is none.
//
// A message that comes again from the same stream may be in the lane: a worker has died before it acknowledged it, or an
// answer of JetStream was lost. To refuse it would be to handle it twice, or to tell its sender that it is not handled. One
// that came back because its lane was full is not in it, and must not get past its community's part by that. Only the
// process that has refused it knows that: what another one gets of these goes past the part; docs/fairness.md says so.
func (w *laneWriter) takesRoom(m *laneMove, id string, bytes int) bool {
	m.again = m.d.delivered > 1 && !w.refused.Contains(id)
	if m.again {
		return m.lane.TakeAgain(bytes)
	}
	return m.lane.Take(bytes)
}

// messageID identifies the message in the stream that it was read from, so that it is stored once, however often it is
// delivered from there.
func (d *delivery) messageID() string {
	id := make([]byte, 0, 64)
	id = append(append(id, d.source.stream...), ':')
	id = append(strconv.AppendUint(id, d.sequence, 10), ':')
	return string(strconv.AppendInt(id, d.stored, 10))
}

// settle decides how the originals of messages end that were moved, or could not be.
func (w *laneWriter) settle(work context.Context) error {
	lasting := context.WithoutCancel(work) // the metrics stage takes also after an abort
	var batch []*laneMove
	var ended []*delivery
	for {
		var ok bool
		if batch, ok = w.moved.Take(batch); !ok {
			return nil
		}
		ended = ended[:0]
		for _, m := range batch {
			if d := m.d; w.decide(work, m) {
				ended = append(ended, d)
			}
			m.lane.Left(1) // after it is decided: until then it must not be overtaken
		}
		if err := w.ended.Put(lasting, ended...); err != nil {
			return err
		}
	}
}

// decide sets the disposition of a message. It returns false if the message is handled without its lane, because no
// lane can take it.
func (w *laneWriter) decide(work context.Context, m *laneMove) bool {
	switch err := m.err; {
	case err == nil:
		if w.failing {
			w.failing = false
			w.log.InfoContext(work, "messages can be stored in lanes again")
		}
		m.d.moved()
		return true
	case work.Err() != nil:
		m.d.disposition = aborted()
		return true
	case tooLargeToMove(err):
		m.d.unmovable = true
		return !w.handle(m.d)
	default:
		return w.decideFailed(work, m)
	}
}

// decideFailed is decide for a message that could not be stored.
func (w *laneWriter) decideFailed(work context.Context, m *laneMove) bool {
	if full := streams.Full(m.err); full || errors.Is(m.err, lanes.ErrFull) { // which package lanes logs
		if full {
			m.lane.Refused()
		}
		m.d.disposition = laneFull(m.d.awaited(), w.admitted.ours(m.d, time.Now()), w.backoff(m.d))
		if m.d.settlement == nak && (full || !m.again) {
			w.refused.Add(m.d.messageID(), struct{}{})
		}
		return true
	}
	if !w.failing {
		w.failing = true
		w.log.WarnContext(work, "messages cannot be stored in lanes", "community_id", m.d.Community, "subject", m.subject, "err", m.err)
	}
	switch {
	case errors.Is(m.err, jetstream.ErrNoStreamResponse):
		w.missing()
		w.registry.Lost(m.lane)
		return !w.handle(m.d)
	default: // nobody knows whether it is stored
		m.d.disposition = postponed()
		return true
	}
}

// backoff is the delay before a message is tried again that its lane had no room for. It doubles each time, because each
// try costs about as much as a message that is handled. The jitter keeps them from coming back all at once.
func (w *laneWriter) backoff(d *delivery) time.Duration {
	times := max(d.before+d.delivered, 1)
	delay := min(w.fullDelay<<min(times-1, 16), maxFullDelays*w.fullDelay)
	return delay + rand.N(delay/2+1) //nolint:gosec // jitter
}

// handle hands a message over to be handled without its lane, as if there were none. It returns false after an abort;
// then the message has its disposition.
func (w *laneWriter) handle(d *delivery) bool {
	if w.admitted.put([]*delivery{d}) {
		return true
	}
	d.disposition = aborted()
	return false
}

// tooLargeToMove reports whether a message does not fit into a lane although it fits into its own stream: in a lane it
// has more headers.
func tooLargeToMove(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == codeMessageTooLarge
}

// codeMessageTooLarge is JetStream's error for a message that is larger than its stream takes.
const codeMessageTooLarge jetstream.ErrorCode = 10054
