// Package retry stores messages in the stream RETRY until their time has come. Meanwhile they are pending for no
// consumer, so that they take nobody's place among the unacknowledged messages.
//
// A message that waits is a schedule of JetStream (server 2.12 and later): it is stored at retry.<stream>.<sequence>.<time
// stored>, which name the message as it was published first. When its time has come, JetStream stores a copy at
// again.<subject>, where the consumer of RETRY finds it, and deletes the schedule. A message that is stored again for
// another time replaces the one that waits.
//
// # Bounds
//
// A [Writer] holds at most maxMessages messages and maxBytes bytes that are not confirmed yet. JetStream cannot refuse a
// message because RETRY is full: it would drop the oldest. So the Writer looks at the stream every lookInterval while
// there is something to store. At nine tenths of the stream's bound it stores nothing more, until the stream is below
// eight. Messages that may only use half of RETRY are stored up to five tenths, and again below four.
//
// Other processes store messages as well. So between two looks a Writer uses a tenth of the room that the first has shown,
// and a hundredth of the bound, at most, and then looks again: ten processes that do so, whenever each of them has looked,
// leave RETRY its last tenth. A message that is larger than a hundredth of the bound finds no room.
//
// # Errors
//
// Who puts a message into a Writer keeps it until Done is called without an error, and gives it back to JetStream
// otherwise. A message can be stored although Done gets an error, if JetStream's answer is lost: it is handled twice then,
// unless it is stored again or forgotten before its time.
package retry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/replies"
)

const (
	// maxMessages and maxBytes bound what waits to be stored or confirmed in this process.
	maxMessages = 8_192
	maxBytes    = 64 << 20
	// inFlight is how many messages wait for JetStream's answer at the same time.
	inFlight = 1_024
	// timeout bounds the wait for one answer of JetStream. The consumers' ack waits are longer.
	timeout = 5 * time.Second
	// lookInterval is how old the last look at the stream may be when a message is stored.
	lookInterval = 500 * time.Millisecond
	// lookPause is the time between two looks at least.
	lookPause = 20 * time.Millisecond
	// longest is the longest time that a message may wait. The stream drops messages after a day.
	longest = 23 * time.Hour
	// overhead is more than what a message takes in the stream besides its subject, headers and body.
	overhead = 200
	// maxHeaders is how many bytes of headers JetStream takes, less what it adds when a schedule's time has come.
	maxHeaders = 1<<16 - 1 - 1<<10
)

// Why a message is not stored, besides errors of JetStream and of the connection.
var (
	ErrFull    = errors.New("the stream RETRY is nine tenths full")
	ErrHalf    = errors.New("the stream RETRY is half full")
	ErrNoRetry = errors.New("the stream RETRY cannot be used")
	ErrHeaders = errors.New("the message's headers are too large to be stored again")
)

// ID names a message by where it was published first. The time tells it from a message with the same sequence in an
// earlier stream of that name.
type ID struct {
	Stream   string
	Sequence uint64
	Stored   time.Time
}

// subject is where RETRY keeps the message until its time has come.
func (id *ID) subject() string {
	return "retry." + id.Stream + "." + strconv.FormatUint(id.Sequence, 10) + "." + strconv.FormatInt(id.Stored.UnixNano(), 10)
}

// Message is a message to be stored.
type Message struct {
	ID
	Subject string    // that it was published to first
	At      time.Time // by JetStream's clock; rounded up to a whole second, and cut to 23 hours from now
	Header  nats.Header
	Body    []byte
	// Half says that the message may only use half of RETRY. It is for those of which one community can have so many that
	// others would have no room.
	Half bool
	// Else is a subject of the stream OVERFLOW at which the message is stored, without a time, if RETRY is full or cannot be
	// used. "" is nowhere.
	Else string
	// Done is called once, when the message is stored (nil) or could not be. It must not block: all messages of the Writer
	// wait for it.
	Done func(error)
}

// size is about what the message takes in the stream.
func (m *Message) size() int64 {
	return int64(overhead + len(m.Stream) + len(m.Subject) + contract.Size(m.Subject, m.Header, m.Body))
}

// order is what Run does next: store a message, or forget one.
type order struct {
	Message
	bytes    int64
	forget   bool
	overflow bool // it is stored at Else
}

// Writer stores messages. Its methods are safe for concurrent use.
type Writer struct {
	js  jetstream.JetStream
	log *slog.Logger

	mu     sync.RWMutex // held for writing by Close, so that nobody sends on a closed queue; protects closed
	closed bool
	queue  chan order // Put and Forget send, Close closes, Run receives

	bytes  atomic.Int64 // of the messages that are not confirmed
	failed atomic.Bool  // the last message could not be stored, which has been logged

	// Owned by Run.
	unconfirmed sync.WaitGroup // messages that are published; replies end them
	looked      time.Time      // when the stream was looked at last
	fault       error          // why it cannot be used; nil if it can
	all         level          // of all messages
	half        level          // of those that may only use half
	holds       bool           // it may hold messages
}

// New makes a Writer and starts nothing.
func New(js jetstream.JetStream, log *slog.Logger) *Writer {
	return &Writer{
		js: js, log: log.With("component", "retry"), queue: make(chan order, maxMessages),
		all: level{tenths: 9, err: ErrFull}, half: level{tenths: 5, err: ErrHalf},
	}
}

// Put takes a message. It does not block: it returns false, and does not call Done, if it has no room, or after Close.
// The Writer owns m.Header if Put returns true.
func (w *Writer) Put(m Message) bool {
	o := order{Message: m, bytes: m.size()}
	if w.bytes.Add(o.bytes) <= maxBytes && w.send(o) {
		return true
	}
	w.bytes.Add(-o.bytes)
	return false
}

// Forget deletes a message that may wait, because it has ended in another way. It does not block, and nobody learns
// whether it succeeds: if it does not, the message is delivered once more. Forget costs nothing while RETRY holds nothing.
func (w *Writer) Forget(id ID) { _ = w.send(order{Message: Message{ID: id}, forget: true}) }

func (w *Writer) send(o order) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return false
	}
	select {
	case w.queue <- o:
		return true
	default:
		return false
	}
}

// Close makes Run return once every message is stored or refused.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
}

// Run stores messages until Close is called and every Done has returned. When ctx ends, what is not confirmed is refused
// with an error.
func (w *Writer) Run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	mux, err := replies.New(w.js.Conn(), replies.Bounds{InFlight: inFlight})
	if err != nil { // the connection is closed
		stop()
		for o := range w.queue {
			w.end(&o, err)
		}
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { mux.Run(ctx) })
	for o := range w.queue {
		if o.forget {
			w.forget(ctx, mux, o.ID)
		} else if err := w.store(ctx, mux, &o); err != nil {
			w.end(&o, err)
		}
	}
	w.unconfirmed.Wait()
	stop()
	answers.Wait()
}

// store sends a message to be stored. If it returns an error, the message is not stored, and its Done was not called.
func (w *Writer) store(ctx context.Context, mux *replies.Mux, o *order) error {
	msg, err := w.schedule(ctx, o)
	if o.Else != "" && (errors.Is(err, ErrFull) || errors.Is(err, ErrNoRetry)) {
		msg, err, o.overflow = o.elsewhere(), nil, true
	}
	if err != nil {
		return err
	}
	stored := *o
	w.unconfirmed.Add(1)
	err = mux.Publish(ctx, msg, time.Now().Add(timeout), func(_ *jetstream.PubAck, err error) {
		defer w.unconfirmed.Done()
		w.end(&stored, err)
	})
	if err != nil {
		w.unconfirmed.Done()
		return err
	}
	return nil
}

// schedule is the schedule to publish, if RETRY has room for it.
func (w *Writer) schedule(ctx context.Context, o *order) (*nats.Msg, error) {
	if err := w.look(ctx); err != nil {
		return nil, err
	}
	if o.bytes-int64(len(o.Body)) > maxHeaders {
		return nil, ErrHeaders
	}
	if err := w.take(ctx, o); err != nil {
		return nil, err
	}
	w.holds = true
	at := o.At
	if latest := time.Now().Add(longest); at.After(latest) {
		at = latest
	}
	if whole := at.Truncate(time.Second); whole.Before(at) {
		at = whole.Add(time.Second) // a schedule has whole seconds; cut, it would be early
	}
	h := o.header(contract.StreamRetry)
	h[jetstream.ScheduleHeader] = []string{"@at " + at.UTC().Format(time.RFC3339)}
	h[jetstream.ScheduleTargetHeader] = []string{contract.RetryTarget(o.Subject)}
	return &nats.Msg{Subject: o.subject(), Header: h, Data: o.Body}, nil
}

// elsewhere is the message to publish if RETRY does not take it.
func (o *order) elsewhere() *nats.Msg {
	return &nats.Msg{Subject: o.Else, Header: o.header(contract.StreamOverflow), Data: o.Body}
}

// header is the message's own header, which lets no other stream take it.
func (o *order) header(stream string) nats.Header {
	if o.Header == nil {
		o.Header = nats.Header{}
	}
	o.Header[jetstream.ExpectedStreamHeader] = []string{stream}
	return o.Header
}

// end tells how a message ended, and logs when messages begin and end to fail.
func (w *Writer) end(o *order, err error) {
	w.bytes.Add(-o.bytes)
	switch own := errors.Is(err, ErrHeaders) || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, ErrHalf); {
	case own: // the next message may well be stored
	case err != nil && w.failed.CompareAndSwap(false, true):
		w.log.Warn("messages cannot be stored in RETRY: they wait among the unacknowledged ones", "err", err)
	case err == nil && !o.overflow && w.failed.CompareAndSwap(true, false):
		w.log.Info("messages are stored in RETRY again")
	}
	if !o.forget {
		o.Done(err)
	}
}

// look looks at the stream, unless it did within lookInterval. An error says why nothing can be stored now.
func (w *Writer) look(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if time.Since(w.looked) >= lookInterval {
		w.lookNow(ctx)
	}
	return w.fault
}

// lookNow looks at the stream, once all that this process has published is confirmed. So the look shows it, and most of what
// others have published meanwhile.
func (w *Writer) lookNow(ctx context.Context) {
	w.unconfirmed.Wait()
	w.fault = w.see(ctx)
	w.looked = time.Now()
}

// take takes room for a message. An error says why there is none.
func (w *Writer) take(ctx context.Context, o *order) error {
	l := &w.all
	if o.Half {
		l = &w.half
	}
	for l.usedUp(o.bytes) { // a look may show more
		select {
		case <-time.After(lookPause - time.Since(w.looked)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if w.lookNow(ctx); w.fault != nil {
			return w.fault
		}
	}
	if l.room < o.bytes {
		if o.Half && !l.full {
			w.log.WarnContext(ctx, "RETRY is half full: messages that their lane has no room for wait among the unacknowledged ones, where they may hold up others")
		}
		l.full = true
		return l.err
	}
	w.all.use(o.bytes)
	w.half.use(o.bytes)
	return nil
}

// see looks at the stream. An error says why it cannot be used.
func (w *Writer) see(ctx context.Context) error {
	if !w.js.Conn().IsConnected() {
		return nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, timeout/2)
	defer cancel()
	s, err := w.js.Stream(ctx, contract.StreamRetry)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoRetry, err)
	}
	info := s.CachedInfo()
	if !info.Config.AllowMsgSchedules {
		return fmt.Errorf("%w: it has no schedules; `arrakis provision --apply` allows them", ErrNoRetry)
	}
	w.holds = info.State.Msgs > 0
	w.all.see(info)
	wasFull := w.half.full
	if w.half.see(info); wasFull && !w.half.full {
		w.log.InfoContext(ctx, "RETRY is less than half full again")
	}
	return nil
}

// forget asks JetStream to delete the schedule of a message.
func (w *Writer) forget(ctx context.Context, mux *replies.Mux, id ID) {
	if w.look(ctx) != nil || !w.holds {
		return
	}
	request, err := json.Marshal(map[string]string{"filter": id.subject()})
	if err == nil {
		err = mux.Send(ctx, &nats.Msg{Subject: purgeSubject, Data: request}, time.Now().Add(timeout), func(_ *nats.Msg, err error) {
			if err != nil {
				w.log.Debug("a message that has ended may come once more", "stream", id.Stream, "stream_seq", id.Sequence, "err", err)
			}
		})
	}
	if err != nil {
		w.log.DebugContext(ctx, "a message that has ended may come once more", "stream", id.Stream, "stream_seq", id.Sequence, "err", err)
	}
}

// purgeSubject is where JetStream's API deletes messages of RETRY.
const purgeSubject = "$JS.API.STREAM.PURGE." + contract.StreamRetry
