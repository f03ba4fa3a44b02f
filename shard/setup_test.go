package shard

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// note is the tests' message.
type note struct{ admission Admission }

func (n *note) Admission() *Admission { return &n.admission }

func commandOf(community, id string) *note {
	return &note{Admission{TenantKey: community, Action: tenant.Command, Limited: true, ID: id}}
}

// bundle is a pool on miniredis whose batches are collected.
type bundle struct {
	t      *testing.T
	redis  *miniredis.Miniredis
	store  *store.Store
	limits *limiter.Limiter
	pool   *Pool[*note]
	out    chan *note

	resolved func([]*note) // given to Run if it is set before the first message
}

// full returns o with everything that a test does not care about.
func full(o Options) Options {
	o.Shards = cmp.Or(o.Shards, 64)
	o.Mailbox = cmp.Or(o.Mailbox, 1024)
	o.CacheSize = cmp.Or(o.CacheSize, 100_000)
	o.CacheTTL = cmp.Or(o.CacheTTL, 30*time.Second)
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

func setup(t *testing.T, o Options) *bundle {
	t.Helper()
	b := &bundle{t: t, redis: testserver.Miniredis(t)}
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	b.store = store.New(rdb, store.Options{Source: "test"})
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if b.limits, err = limiter.New(rdb, limiter.Options{Health: health}); err != nil {
		t.Fatal(err)
	}
	return start(t, b, o)
}

// start runs a pool on the bundle's store and limits until the test ends.
func start(t *testing.T, b *bundle, o Options) *bundle {
	t.Helper()
	b.out = make(chan *note, 100_000)
	o.Tenants, o.Limits = b.store, b.limits
	var err error
	if b.pool, err = NewPool[*note](full(o)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		resolved := func(batch []*note) {
			if b.resolved != nil {
				b.resolved(batch)
			}
		}
		done <- b.pool.Run(context.Background(), resolved, func(_ context.Context, batch []*note) error {
			for _, n := range batch {
				b.out <- n
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		b.pool.Close()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return b
}

// send puts notes and waits for their verdicts, in the order in which they left.
func (b *bundle) send(notes ...*note) []*note {
	b.t.Helper()
	s := b.pool.Sorter()
	for _, n := range notes {
		s.Add(n)
	}
	if err := s.Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	got := make([]*note, len(notes))
	for i := range got {
		got[i] = <-b.out
	}
	return got
}

func (b *bundle) allowed(notes ...*note) int {
	b.t.Helper()
	n := 0
	for _, got := range b.send(notes...) {
		if got.admission.Verdict.Allowed {
			n++
		}
	}
	return n
}

func commands(community string, from, to int) (notes []*note) {
	for i := from; i < to; i++ {
		notes = append(notes, commandOf(community, fmt.Sprintf("e%d", i)))
	}
	return notes
}
