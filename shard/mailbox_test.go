package shard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
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
