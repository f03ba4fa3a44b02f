package streams_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/streams"
)

// world is a NATS server, a Redis, and the keepers of some processes.
type world struct {
	t       *testing.T
	js      jetstream.JetStream
	rdb     *redis.Client
	records *streams.Records
	metrics *prometheus.Registry // of the first keeper
	logged  *testserver.Output
	letters chan string // subjects of the messages for which a dead letter was stored
	// before, if any, is called before a dead letter is stored.
	before func(stream string)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, js: jetStream(t), letters: make(chan string, 10_000), logged: new(testserver.Output)}
	w.rdb = redis.NewClient(&redis.Options{Addr: testserver.Miniredis(t).Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = w.rdb.Close() })
	w.forget()
	return w
}

// forget makes the records those of a process that has just started.
func (w *world) forget() {
	w.t.Helper()
	health, err := redishealth.New(w.rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		w.t.Fatal(err)
	}
	w.records = streams.NewRecords(w.rdb, health)
}

// stream makes a stream of the contract in memory, with changes, and then all that is missing.
func (w *world) stream(name string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	c := jetstream.StreamConfig{Name: name, Subjects: []string{strings.ToLower(name) + ".>"}, Storage: jetstream.MemoryStorage}
	change(&c)
	if _, err := w.js.CreateStream(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	w.ensure()
}

func (w *world) ensure() {
	w.t.Helper()
	if err := w.tryEnsure(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryEnsure() error {
	return streams.Ensure(w.t.Context(), w.js, w.records, streams.Options{Storage: jetstream.MemoryStorage}, slog.New(slog.DiscardHandler))
}

// keep runs a keeper until the returned function is called.
func (w *world) keep() (stop func()) {
	registry := prometheus.NewRegistry()
	if w.metrics == nil {
		w.metrics = registry
	}
	k := streams.NewKeeper(streams.KeeperOptions{
		JetStream: w.js, Records: w.records, Registerer: registry, Interval: 100 * time.Millisecond,
		Logger: w.logged.Logger(),
		DeadLetter: func(ctx context.Context, stream string, m *jetstream.RawStreamMsg, cause string) error {
			if w.before != nil {
				w.before(stream)
			}
			err := deadletter.New(w.js).Write(ctx, &deadletter.Record{
				Stream: stream, Sequence: m.Sequence, Stored: m.Time, Subject: m.Subject, Headers: m.Header, Body: m.Data,
				Reason: contract.ReasonMalformed, Cause: cause,
			})
			if err == nil {
				w.letters <- m.Subject
			}
			return err
		},
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { k.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) publish(subject string, n int) {
	w.t.Helper()
	for range n {
		if _, err := w.js.Publish(w.t.Context(), subject, make([]byte, 1_000)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// take delivers n messages to a worker, which acknowledges them if it should.
func (w *world) take(stream, consumer string, n int, ack bool) (sequences []uint64) {
	w.t.Helper()
	c, err := w.js.Consumer(w.t.Context(), stream, consumer)
	if err != nil {
		w.t.Fatal(err)
	}
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(testserver.Patience))
		if err != nil {
			w.t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			w.t.Fatal(err)
		}
		sequences = append(sequences, meta.Sequence.Stream)
		if ack {
			if err := m.DoubleAck(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return sequences
}

func (w *world) dropped(stream string) uint64 {
	w.t.Helper()
	n, err := w.records.Dropped(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) field(stream, name string) string {
	return w.rdb.HGet(w.t.Context(), "arrakis:stream:"+stream, name).Val()
}

// deadLetters waits until there are n dead letters of a stream's messages, and checks that each message has one.
func (w *world) deadLetters(stream string, n int) {
	w.t.Helper()
	var page deadletter.Page
	testserver.Eventually(w.t, fmt.Sprintf("%d messages of %s are dead letters", n, stream), func() (done bool) {
		var err error
		page, err = deadletter.New(w.js).List(w.t.Context(), deadletter.Query{Filter: deadletter.Filter{Stream: stream}})
		return err == nil && len(page.Entries) >= n
	})
	of := map[uint64]int{}
	for _, e := range page.Entries {
		of[e.Sequence]++
	}
	if len(page.Entries) != n || len(of) != n {
		w.t.Errorf("%d dead letters of %d messages, want one for each of %d", len(page.Entries), len(of), n)
	}
}

// looks waits until two looks at a stream that began after now are stored.
func (w *world) looks(stream string) {
	w.t.Helper()
	version := func() int {
		n, _ := strconv.Atoi(w.field(stream, "version")) // 0 before the first look
		return n
	}
	before := version()
	// A look stores once or twice; the first may have begun before.
	testserver.Eventually(w.t, "a keeper looks", func() bool { return version() >= before+6 })
}

// messages waits until a stream holds n messages.
func (w *world) messages(stream string, n uint64) {
	w.t.Helper()
	testserver.Eventually(w.t, fmt.Sprintf("%s holds %d messages", stream, n), func() bool {
		s, err := w.js.Stream(w.t.Context(), stream)
		return err == nil && s.CachedInfo().State.Msgs == n
	})
}
