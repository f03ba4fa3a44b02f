package shard

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrClosed is returned by [Mailbox.Put] and [Mailbox.Offer] after Close.
var ErrClosed = errors.New("mailbox closed")

// Mailbox is a bounded queue whose items are put and taken in batches. A batch costs one lock and at most one wake-up;
// in a channel, every item costs both. Any number of goroutines may put; one goroutine, the taker, takes.
type Mailbox[T any] struct {
	capacity int           // set by NewMailbox, read-only
	bytes    int64         // bound of the items' sizes, set by NewSizedMailbox, read-only
	size     func(T) int64 // of an item in bytes; nil: there is no such bound; read-only
	filled   chan struct{} // size 1: wakes the taker, because items wait or the mailbox is closed
	freed    chan struct{} // size 1: wakes a waiting sender, because there is room

	mu     sync.Mutex // protects the fields below
	queue  []T
	held   int64 // bytes of the items in queue
	wakeAt int   // how many items must wait before the taker is woken
	closed bool
}

// NewMailbox returns a mailbox that holds up to capacity items, at least 1.
func NewMailbox[T any](capacity int) *Mailbox[T] {
	return &Mailbox[T]{
		capacity: max(capacity, 1),
		filled:   make(chan struct{}, 1),
		freed:    make(chan struct{}, 1),
	}
}

// NewSizedMailbox returns a mailbox that also holds up to so many bytes, and one item more.
func NewSizedMailbox[T any](capacity int, bytes int64, size func(T) int64) *Mailbox[T] {
	m := NewMailbox[T](capacity)
	m.bytes, m.size = bytes, size
	return m
}

// Put appends items in their order, and waits while the mailbox is full. An error is ctx's or ErrClosed. After an error
// some items may have been put and others not.
func (m *Mailbox[T]) Put(ctx context.Context, items ...T) error {
	for {
		n, err := m.Offer(items...)
		if err != nil {
			return err
		}
		if items = items[n:]; len(items) == 0 {
			return nil
		}
		select {
		case <-m.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Offer appends those of the first items that fit, and returns how many they are. It does not wait. An error is
// ErrClosed.
func (m *Mailbox[T]) Offer(items ...T) (n int, err error) {
	n, enough, room, err := m.put(items)
	if enough {
		signal(m.filled)
	}
	if room || err != nil {
		signal(m.freed) // wakes another waiting sender
	}
	return n, err
}

// put appends the items that fit. It reports whether the taker must be woken and whether there is room for more.
func (m *Mailbox[T]) put(items []T) (n int, enough, room bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, false, false, ErrClosed
	}
	n = min(len(items), m.capacity-len(m.queue))
	if m.size != nil {
		fit := 0
		for ; fit < n && m.held < m.bytes; fit++ {
			m.held += m.size(items[fit])
		}
		n = fit
	}
	m.queue = append(m.queue, items[:n]...)
	return n, n > 0 && (len(m.queue) >= m.wakeAt || m.fullLocked()), !m.fullLocked(), nil
}

// fullLocked reports whether no item fits. The caller must hold m.mu.
func (m *Mailbox[T]) fullLocked() bool {
	return len(m.queue) >= m.capacity || m.size != nil && m.held >= m.bytes
}

// Full reports whether no item fits.
func (m *Mailbox[T]) Full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fullLocked()
}

// Gather returns when n items wait, the mailbox is full or closed, maxWait has passed, or no item has arrived for a
// tick. Only the taker calls it, before Take.
func (m *Mailbox[T]) Gather(n int, maxWait, tick time.Duration) {
	n = min(n, m.capacity)
	timer, ticker := time.NewTimer(maxWait), time.NewTicker(tick)
	defer timer.Stop()
	defer ticker.Stop()
	for before := m.Len(); !m.wake(n); {
		select {
		case <-m.filled: // this may be an old signal
		case <-ticker.C:
			now := m.Len()
			if now == before {
				m.wake(0)
				return
			}
			before = now
		case <-timer.C:
			m.wake(0)
			return
		}
	}
}

// wake sets how many items must wait before the taker is woken. It reports whether as many wait already, or no more
// will come.
func (m *Mailbox[T]) wake(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakeAt = n
	if m.closed || len(m.queue) >= n || m.fullLocked() {
		m.wakeAt = 0
		return true
	}
	return false
}

// Take waits for items and returns all of them. It returns false when the mailbox is closed and empty. It clears buffer
// and uses it for the next items: pass the slice that the last Take returned, when nothing uses that slice any more.
func (m *Mailbox[T]) Take(buffer []T) ([]T, bool) {
	clear(buffer)
	for {
		items, closed := m.take(buffer[:0])
		if len(items) > 0 {
			signal(m.freed)
			return items, true
		}
		if closed {
			return nil, false
		}
		<-m.filled
	}
}

func (m *Mailbox[T]) take(empty []T) (items []T, closed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil, m.closed
	}
	items, m.queue, m.held = m.queue, empty, 0
	return items, m.closed
}

// Close lets the taker end after it has taken the waiting items. Senders that must not lose an item must have ended
// before Close.
func (m *Mailbox[T]) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	signal(m.filled)
	signal(m.freed)
}

// Len returns how many items wait.
func (m *Mailbox[T]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

// signal puts a signal into c, unless c has one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
