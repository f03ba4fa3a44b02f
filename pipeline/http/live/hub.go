package live

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/view"
)

const (
	// MaxSubscribers is how many subscriptions a hub has at the same time, at most.
	MaxSubscribers = 64
	// MaxChanges is how many of the last changes a snapshot has, at most.
	MaxChanges = 100
	// linger is for how long a hub looks on without a subscriber, for a page that is loaded again.
	linger = time.Minute
)

// Errors of [Hub.Subscribe] and [Hub.Latest].
var (
	// ErrFull means that there are MaxSubscribers already.
	ErrFull = errors.New("live: too many subscribers")
	// ErrClosed means that the process shuts down.
	ErrClosed = errors.New("live: the hub has ended")
)

// Snapshot is the state of the fleet at one moment. All subscribers share it: it must not be changed.
type Snapshot struct {
	// Number tells snapshots of a hub apart. A later one has a larger number; numbers are left out for a subscriber that
	// was too slow. What is made of a snapshot for all its readers can be kept under it.
	Number uint64
	// Fleet is never nil.
	Fleet *view.Fleet
	// Changes are the last changes of configuration that have reached this process, oldest first, at most MaxChanges.
	Changes []Change

	encode sync.Once
	event  []byte
}

// Change is a change with its number.
type Change struct {
	Number uint64 `json:"-"` // counts the changes of this process, from 1
	view.Change
}

// LastChange is the number of the newest change, 0 if there is none.
func (s *Snapshot) LastChange() uint64 {
	if len(s.Changes) == 0 {
		return 0
	}
	return s.Changes[len(s.Changes)-1].Number
}

// ChangesAfter returns the changes that are newer than the one of the number. A subscriber that remembers LastChange of
// the snapshot before sees each change once, also if it skips snapshots, unless there were more than MaxChanges.
func (s *Snapshot) ChangesAfter(number uint64) []Change {
	i := slices.IndexFunc(s.Changes, func(c Change) bool { return c.Number > number })
	if i < 0 {
		return nil
	}
	return s.Changes[i:]
}

// FleetEvent is an event "fleet" for [Writer.Send], with the same document as GET /v1/fleet answers. It is made once for
// all readers.
func (s *Snapshot) FleetEvent() []byte {
	s.encode.Do(func() {
		document, _ := json.Marshal(s.Fleet, json.Deterministic(true)) // all its types can be encoded
		s.event = Encode("fleet", document)
	})
	return s.event
}

// Hub looks at the fleet for its subscribers. New makes a Hub; Run runs it once. Its other methods are safe for
// concurrent use, also before Run.
type Hub struct {
	watch  func(ctx context.Context, each func(*view.Fleet))
	wanted chan struct{} // size 1: somebody wants snapshots; read by Run

	mu          sync.Mutex // protects the fields below
	subscribers map[chan *Snapshot]struct{}
	last        *Snapshot // nil while nobody looks
	number      uint64
	changes     []Change // replaced, never edited: snapshots have it
	change      uint64
	until       time.Time // when to end looking without a subscriber
	closed      bool
}

// New makes a Hub. watch looks at the fleet until its context ends: it calls each about once a second, the first time
// as soon as it can. It is called by Run, again and again, once at a time.
func New(watch func(ctx context.Context, each func(*view.Fleet))) *Hub {
	return &Hub{watch: watch, wanted: make(chan struct{}, 1), subscribers: make(map[chan *Snapshot]struct{})}
}

// Run looks at the fleet while somebody wants it, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	defer h.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wanted:
		}
		looking, stop := context.WithCancel(ctx)
		h.watch(looking, func(f *view.Fleet) {
			if !h.publish(f) {
				stop()
			}
		})
		stop()
		h.forget(ctx)
	}
}

// publish gives a snapshot to all subscribers. It returns false if nobody has wanted one for a while.
func (h *Hub) publish(f *view.Fleet) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number++
	h.last = &Snapshot{Number: h.number, Fleet: f, Changes: h.changes}
	for ch := range h.subscribers {
		give(ch, h.last)
	}
	now := time.Now()
	if len(h.subscribers) > 0 {
		h.until = now.Add(linger)
	}
	return now.Before(h.until)
}

// give puts s into the channel of a subscriber, in place of one that it has not taken. Only one goroutine at a time may
// send to it.
func give(ch chan *Snapshot, s *Snapshot) {
	select {
	case <-ch:
	default:
	}
	ch <- s
}

// forget forgets the last snapshot when nobody looks any more: it becomes old. Whoever has subscribed meanwhile wants
// another.
func (h *Hub) forget(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = nil
	select {
	case <-h.wanted: // by somebody who has had it
	default:
	}
	if ctx.Err() == nil && len(h.subscribers) > 0 {
		h.wantLocked()
	}
}

// close closes all subscriptions.
func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch := range h.subscribers {
		close(ch)
	}
	clear(h.subscribers)
}

// wantLocked makes Run look, if it does not. The caller must hold h.mu.
func (h *Hub) wantLocked() {
	h.until = time.Now().Add(linger)
	select {
	case h.wanted <- struct{}{}:
	default:
	}
}

// Subscribe returns a channel with the newest snapshot: the last one at once, if there is one, and then each further one
// in place of one that was not taken. The channel is closed when ctx ends, and at the end of Run. Errors: [ErrFull],
// [ErrClosed].
func (h *Hub) Subscribe(ctx context.Context) (<-chan *Snapshot, error) {
	return h.subscribe(ctx, MaxSubscribers)
}

// subscribe is Subscribe for one of so many.
func (h *Hub) subscribe(ctx context.Context, most int) (<-chan *Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case len(h.subscribers) >= most:
		return nil, ErrFull
	}
	ch := make(chan *Snapshot, 1) // the newest snapshot; see give
	if h.last != nil {
		ch <- h.last
	} else {
		h.wantLocked()
	}
	h.subscribers[ch] = struct{}{}
	context.AfterFunc(ctx, func() { h.leave(ch) })
	return ch, nil
}

// leave ends a subscription.
func (h *Hub) leave(ch chan *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subscribers[ch]; ok {
		delete(h.subscribers, ch)
		close(ch)
	}
}

// Latest returns the newest snapshot, which is usually no older than a second. Where nobody has looked for a while it waits
// for the first. Errors: [ErrFull], [ErrClosed], and ctx's.
func (h *Hub) Latest(ctx context.Context) (*Snapshot, error) {
	h.mu.Lock()
	last := h.last
	if last != nil {
		h.until = time.Now().Add(linger)
	}
	h.mu.Unlock()
	if last != nil {
		return last, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	snapshots, err := h.subscribe(ctx, 2*MaxSubscribers) // there is room beside those that stay
	if err != nil {
		return nil, err
	}
	s, ok := <-snapshots
	switch {
	case ok:
		return s, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, ErrClosed
	}
}

// LastChange is the number of the newest change, 0 if there is none.
func (h *Hub) LastChange() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.change
}

// Changed tells subscribers of a change of configuration, with the next snapshot.
func (h *Hub) Changed(c view.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change++
	changes := append(slices.Clone(h.changes), Change{Number: h.change, Change: c})
	h.changes = changes[max(0, len(changes)-MaxChanges):]
}
