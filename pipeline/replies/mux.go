// Package replies sends requests over NATS and hands their replies to functions. It is for whoever has many requests in
// flight: a request needs no goroutine, no timer and no subscription of its own, where [nats.Conn.RequestMsg] holds a
// goroutine for each.
//
// # Promises
//
// If [Mux.Send] or [Mux.Publish] returns nil, done is called exactly once: with the reply, or with an error. If they
// return an error, done is not called. A reply that comes after that, or that nobody asked for, is dropped.
//
// # Backpressure
//
// A Mux has a bound of requests in flight: at it, Send and Publish wait. It has another one for the bytes of replies that
// have arrived and wait for their done. Above that a reply is lost, as with any subscription, and its request ends at its
// deadline with [nats.ErrTimeout].
//
// # The goroutine of done
//
// All replies of a Mux are handed over by one goroutine, and errors by that of [Mux.Run]. So done must not block, and
// must not call Send or Publish of the same Mux: at the bound, these wait for a reply that could then not arrive. Who
// has more to do passes it on. Those who must not wait for each other's done have a Mux each.
//
// # Errors
//
// After an error other than [nats.ErrNoResponders] it is not known whether anybody got the request.
package replies

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// tickInterval is how often deadlines are looked at. A request may end that much later than its deadline.
	tickInterval = 50 * time.Millisecond
	// defaultBytes are plenty for acks of JetStream, which have less than 1 KiB.
	defaultBytes = 64 << 20
	// tokenBase is the base of the numbers in reply subjects.
	tokenBase = 36
)

// ErrClosed means that Run has ended, so that no reply arrives any more.
var ErrClosed = errors.New("replies: closed")

// Mux sends requests over one connection and receives all replies on one subscription. It is safe for concurrent use.
type Mux struct {
	// Set by New, read-only.
	nc     *nats.Conn
	sub    *nats.Subscription
	prefix string        // of reply subjects; behind it is a token
	ended  chan struct{} // closed when the subscription hands over nothing any more

	inFlight chan struct{} // holds one for each request in flight; Send waits while it is full

	mu     sync.Mutex // protects the fields below
	slots  []slot     // requests in flight, and free places
	free   []uint32   // places that are free
	closed error      // why nothing can be sent any more; nil while it can
}

// slot is a place for a request in flight. Its number and its generation are the token of the request's reply subject,
// so a late reply to an earlier request in the same place is told apart.
type slot struct {
	generation uint32
	fromStream bool                   // the reply is JetStream's, which is lost with the connection
	deadline   time.Time              // of the reply
	done       func(*nats.Msg, error) // nil if the place is free
}

// Bounds are what a [Mux] holds at most; see the package comment for what happens at them.
type Bounds struct {
	InFlight int // requests; required
	Bytes    int // of replies that wait for their done. Defaults to 64 MiB
}

// New makes a Mux and subscribes to replies. The caller must call Run.
func New(nc *nats.Conn, b Bounds) (*Mux, error) {
	m := &Mux{
		nc: nc, prefix: nc.NewInbox() + ".", ended: make(chan struct{}), inFlight: make(chan struct{}, b.InFlight),
	}
	var err error
	if m.sub, err = nc.Subscribe(m.prefix+"*", m.receive); err != nil {
		return nil, fmt.Errorf("subscribe to replies: %w", err)
	}
	m.sub.SetClosedHandler(func(string) { close(m.ended) })
	if err := m.sub.SetPendingLimits(-1, cmp.Or(b.Bytes, defaultBytes)); err != nil {
		return nil, fmt.Errorf("subscribe to replies: %w", err)
	}
	return m, nil
}

// Run looks at deadlines until ctx ends or the connection is closed. Then every request in flight ends with ErrClosed
// or [nats.ErrConnectionClosed], and so does Send. When Run has returned, every done has returned.
func (m *Mux) Run(ctx context.Context) {
	status := m.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer m.nc.RemoveStatusListener(status)
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	for !m.nc.IsClosed() {
		select {
		case <-ctx.Done():
			m.close(ErrClosed)
			return
		case now := <-status:
			if now == nats.RECONNECTING {
				m.fail(nats.ErrDisconnected, func(s *slot) bool { return s.fromStream })
			}
		case now := <-tick.C:
			m.fail(nats.ErrTimeout, func(s *slot) bool { return now.After(s.deadline) })
		}
	}
	m.close(nats.ErrConnectionClosed)
}

func (m *Mux) close(why error) {
	m.mu.Lock()
	m.closed = why
	m.mu.Unlock()
	_ = m.sub.Unsubscribe() // an error means that the connection is closed, and the subscription with it
	<-m.ended
	m.fail(why, func(*slot) bool { return true })
}

// Send sends a request; it sets msg's Reply. done gets the reply, which may be an error by the convention of some
// service. Or it gets an error: [nats.ErrNoResponders] if nobody listens, [nats.ErrTimeout] soon after the deadline, or
// what Run says. See the package's documentation for what done must not do. While the connection is lost the NATS
// library keeps the request and sends it later, and replies still arrive after that. Send waits for a place and returns
// ctx's error if ctx ends first. msg is the caller's again when Send has returned.
func (m *Mux) Send(ctx context.Context, msg *nats.Msg, deadline time.Time, done func(*nats.Msg, error)) error {
	return m.send(ctx, msg, slot{deadline: deadline, done: done})
}

func (m *Mux) send(ctx context.Context, msg *nats.Msg, s slot) error {
	place, generation, err := m.put(ctx, s)
	if err != nil {
		return err
	}
	msg.Reply = m.subject(place, generation)
	if err := m.nc.PublishMsg(msg); err != nil {
		if _, mine := m.take(place, generation); mine {
			return err
		} // otherwise Run has been faster, and has called done
	}
	return nil
}

// put puts a request into a free place. It waits for one until ctx ends.
func (m *Mux) put(ctx context.Context, s slot) (place, generation uint32, err error) {
	select {
	case m.inFlight <- struct{}{}:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		<-m.inFlight
		return 0, 0, m.closed
	}
	if n := len(m.free); n > 0 {
		place, m.free = m.free[n-1], m.free[:n-1]
	} else {
		place = uint32(len(m.slots)) //nolint:gosec // far below 4e9
		m.slots = append(m.slots, slot{})
	}
	s.generation = m.slots[place].generation
	m.slots[place] = s
	return place, s.generation, nil
}

// take ends the request in a place. It returns false if that request has ended already.
func (m *Mux) take(place, generation uint32) (done func(*nats.Msg, error), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if int(place) >= len(m.slots) || m.slots[place].generation != generation || m.slots[place].done == nil {
		return nil, false
	}
	return m.takeLocked(place), true
}

// takeLocked ends the request in a place and frees the place. The caller must hold m.mu.
func (m *Mux) takeLocked(place uint32) (done func(*nats.Msg, error)) {
	done = m.slots[place].done
	m.slots[place] = slot{generation: m.slots[place].generation + 1}
	m.free = append(m.free, place)
	<-m.inFlight // does not block: the request has put one in
	return done
}

// fail ends the requests for which which returns true.
func (m *Mux) fail(err error, which func(*slot) bool) {
	var failed []func(*nats.Msg, error)
	m.mu.Lock()
	for i := range m.slots {
		if s := &m.slots[i]; s.done != nil && which(s) {
			failed = append(failed, m.takeLocked(uint32(i)))
		}
	}
	m.mu.Unlock()
	for _, done := range failed {
		done(nil, err)
	}
}

// subject is the reply subject of a request.
func (m *Mux) subject(place, generation uint32) string {
	var buf [64]byte
	return string(strconv.AppendUint(append(buf[:0], m.prefix...), uint64(generation)<<32|uint64(place), tokenBase))
}

// receive hands a reply over.
func (m *Mux) receive(msg *nats.Msg) {
	token, err := strconv.ParseUint(msg.Subject[len(m.prefix):], tokenBase, 64)
	if err != nil {
		return // nobody asked for it
	}
	done, ok := m.take(uint32(token), uint32(token>>32)) //nolint:gosec // the halves
	switch {
	case !ok:
	case len(msg.Data) == 0 && msg.Header.Get("Status") == "503":
		done(nil, nats.ErrNoResponders)
	default:
		done(msg, nil)
	}
}
