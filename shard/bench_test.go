package shard

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

// BenchmarkShard is one message from Sorter.Add to its verdict, of 100 communities that are over their limits, by how
// many are flushed at once: what gathering saves.
//
//	go test -run - -bench Shard ./shard
func BenchmarkShard(b *testing.B) {
	for _, shards := range []int{1, 64} {
		for _, flushed := range []int{16, 64, 512} {
			b.Run(fmt.Sprintf("shards=%d/flushed=%d", shards, flushed), func(b *testing.B) {
				var decided atomic.Int64
				p := benchPool(b, shards, &decided)
				sorter := p.Sorter()
				notes := make([]*note, flushed)
				send := func() {
					for i := range notes {
						sorter.Add(notes[i])
					}
					if err := sorter.Flush(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
				sent := 0
				for i := 0; sent < 2_000; i++ { // beyond 10 for each of 100
					for j := range notes {
						notes[j] = commandOf(fmt.Sprintf("comm_%03d", (i*flushed+j)%100), fmt.Sprintf("e%d_%d", i, j))
					}
					send()
					sent += flushed
					await(&decided, sent)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += flushed {
					send()
					sent += flushed
					await(&decided, sent)
				}
			})
		}
	}
}

// await waits until as many are decided as were sent: notes are sent again.
func await(decided *atomic.Int64, sent int) {
	for decided.Load() < int64(sent) {
		runtime.Gosched()
	}
}

func benchPool(b *testing.B, shards int, decided *atomic.Int64) *Pool[*note] {
	b.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: testserver.Miniredis(b).Addr(), ContextTimeoutEnabled: true})
	b.Cleanup(func() { _ = rdb.Close() })
	limits, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		b.Fatal(err)
	}
	p, err := NewPool[*note](full(Options{
		Tenants: store.New(rdb, store.Options{Source: "bench"}), Limits: limits, Shards: shards,
	}))
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- p.Run(context.Background(), func([]*note) {}, func(_ context.Context, batch []*note) error {
			decided.Add(int64(len(batch)))
			return nil
		})
	}()
	b.Cleanup(func() {
		p.Close()
		if err := <-done; err != nil {
			b.Errorf("Run: %v", err)
		}
	})
	return p
}

// BenchmarkMailbox is one item through a mailbox, put alone or with others, beside a channel.
func BenchmarkMailbox(b *testing.B) {
	for _, together := range []int{1, 64} {
		b.Run(fmt.Sprintf("mailbox/together=%d", together), func(b *testing.B) {
			m := NewMailbox[*note](1_000)
			items := make([]*note, together)
			go func() {
				defer m.Close()
				for i := 0; i < b.N; i += together {
					_ = m.Put(context.Background(), items...) // it is open
				}
			}()
			b.ReportAllocs()
			var taken []*note
			for ok := true; ok; {
				taken, ok = m.Take(taken)
			}
		})
	}
	b.Run("channel", func(b *testing.B) {
		c := make(chan *note, 1_000)
		go func() {
			defer close(c)
			for range b.N {
				c <- nil
			}
		}()
		b.ReportAllocs()
		for range c {
		}
	})
}
