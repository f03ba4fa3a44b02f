package shard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMailboxBlocksWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[int](3)
		done := make(chan error, 1)
		go func() { done <- m.Put(t.Context(), 1, 2, 3, 4, 5, 6, 7) }()
		var got []int
		for len(got) < 7 {
			synctest.Wait()
			if n := m.Len(); n > 3 {
				t.Fatalf("holds %d of 3", n)
			}
			items, _ := m.Take(nil)
			got = append(got, items...)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []int{1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("took %v", got)
		}
	})
}

func TestMailboxPutEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[int](1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Put(ctx, 1, 2) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Put returned %v", err)
		}
	})
}

func TestMailboxClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[int](4)
		if err := m.Put(t.Context(), 1, 2); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if err := m.Put(t.Context(), 3); !errors.Is(err, ErrClosed) {
			t.Errorf("Put after Close returned %v", err)
		}
		if items, ok := m.Take(nil); !ok || !slices.Equal(items, []int{1, 2}) {
			t.Errorf("took %v, %v: what was there before Close is lost", items, ok)
		}
		if _, ok := m.Take(nil); ok {
			t.Error("Take goes on after the last item")
		}
	})
}

func TestMailboxManySendersLoseNothing(t *testing.T) {
	const senders, each = 8, 1_000
	m := NewMailbox[int](16)
	var g sync.WaitGroup
	for range senders {
		g.Go(func() {
			for i := range each {
				if err := m.Put(context.Background(), i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { g.Wait(); m.Close() }()
	sum, n := 0, 0
	var items []int
	for {
		var ok bool
		if items, ok = m.Take(items); !ok {
			break
		}
		for _, i := range items {
			sum += i
			n++
		}
	}
	if n != senders*each || sum != senders*each*(each-1)/2 {
		t.Errorf("took %d items with sum %d", n, sum)
	}
}

// gathering is what comes to a mailbox while its taker gathers.
type gathering struct {
	name  string
	room  int
	n     int           // enough
	puts  []int         // how many items come, each after a tenth of a second
	close bool          // after them
	want  time.Duration // how long it gathers
}

func TestMailboxGather(t *testing.T) {
	for _, g := range []gathering{
		{name: "until there are enough", room: 4, n: 3, puts: []int{1, 1, 1}, want: 300 * time.Millisecond},
		{name: "not if there are enough", room: 4, n: 0, want: 0},
		{name: "until nothing comes any more", room: 4, n: 4, puts: []int{1, 1}, want: 450 * time.Millisecond},
		{name: "until the time is over", room: 20, n: 14, puts: []int{1, 1, 1, 1, 1, 1, 1, 1, 1}, want: time.Second},
		{name: "until it is full", room: 4, n: 100, puts: []int{1, 3}, want: 200 * time.Millisecond},
		{name: "until it is closed", room: 4, n: 4, puts: []int{1}, close: true, want: 200 * time.Millisecond},
	} {
		t.Run(g.name, func(t *testing.T) { synctest.Test(t, g.check) })
	}
}

// check must run in a bubble.
func (g gathering) check(t *testing.T) {
	t.Helper()
	m := NewMailbox[int](g.room)
	signal(m.filled) // an old hint
	go g.fill(t, m)
	began := time.Now()
	m.Gather(g.n, time.Second, 150*time.Millisecond)
	if got := time.Since(began); got != g.want {
		t.Errorf("gathers for %v, want %v", got, g.want)
	}
	if g.close {
		return
	}
	// From now on one item wakes the taker again.
	if len(g.puts) > 0 {
		m.Take(nil)
	}
	go func() { _ = m.Put(t.Context(), 1) }()
	m.Take(nil)
}

// fill puts the items.
func (g gathering) fill(t *testing.T, m *Mailbox[int]) {
	t.Helper()
	for _, n := range g.puts {
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in a bubble
		if err := m.Put(t.Context(), make([]int, n)...); err != nil {
			t.Error(err)
		}
	}
	if g.close {
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in a bubble
		m.Close()
	}
}
