package pipeline

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
	"arrakis/tenant"
)

// typical is a command of 420 bytes, of an event number and a community.
const typical = `{"event_id":"1b4e28ba-2fa1-41d2-883f-%012d","event_type":"interaction.create","shard_id":7,"timestamp":1767225600000,` +
	`"guild_id":"%s","channel_id":"700000000000000002","user_id":"700000000000000003",` +
	`"data":{"interaction_id":"700000000000000010","interaction_type":"ApplicationCommand","interaction_token":"aW50ZXJhY3Rpb24",` +
	`"command_name":"stats","subcommand":"weekly","options":{"page":2,"public":false,"p":"xxxxxx"}}}`

// fill stores n commands of 100 communities in COMMANDS.
func (b *bundle) fill(n int) {
	b.t.Helper()
	for i := range n {
		if _, err := b.js.PublishAsync("commands.interaction", fmt.Appendf(nil, typical, i, fmt.Sprintf("comm_%03d", i%100)), patient); err != nil {
			b.t.Fatal(err)
		}
	}
	<-b.js.PublishAsyncComplete()
}

// storeMix makes the tenants of the mix: 10 enterprise, 20 pro, 70 free.
func storeMix(b *bundle) {
	b.t.Helper()
	for i := range 30 {
		tier := tenant.Pro
		if i < 10 {
			tier = tenant.Enterprise
		}
		if _, _, err := b.store.UpgradeTier(b.t.Context(), fmt.Sprintf("comm_%03d", i), tier); err != nil {
			b.t.Fatal(err)
		}
	}
}

// worksOff measures a worker that works off b.N commands.
func worksOff(b *testing.B, w *bundle) {
	b.Helper()
	w.ensure()
	w.fill(b.N)
	b.ReportAllocs()
	b.ResetTimer()
	w.start()
	w.awaitAcknowledged()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func (b *bundle) awaitAcknowledged() {
	b.t.Helper()
	testserver.Eventually(b.t, "all messages are acknowledged", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
}

// BenchmarkPipeline is one message from JetStream to its ack, in the mix of
// 100 communities (10 enterprise, 20 pro, 70 free), beside a bare loop of
// nats.go that only consumes and acknowledges.
//
//	go test -run - -bench Pipeline -benchtime 200000x ./pipeline
func BenchmarkPipeline(b *testing.B) {
	b.Run("arrakis", func(b *testing.B) {
		w := setup(b)
		storeMix(w)
		w.handlers.Command("stats", func(context.Context, *Message) (any, error) { return nil, nil })
		w.options = func(o *Options) { o.Shards = 64 }
		worksOff(b, w)
	})
	b.Run("bare", func(b *testing.B) {
		w := setup(b)
		w.ensure()
		w.fill(b.N)
		c, err := w.js.Consumer(b.Context(), contract.StreamCommands, contract.ConsumerCommand)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		done := make(chan struct{})
		n := 0
		consume, err := c.Consume(func(m jetstream.Msg) {
			_ = m.Ack()
			if n++; n == b.N {
				close(done)
			}
		}, jetstream.PullMaxMessages(pullBatch))
		if err != nil {
			b.Fatal(err)
		}
		<-done
		w.awaitAcknowledged()
		b.StopTimer()
		consume.Stop()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// BenchmarkService is one message from JetStream to its ack, handled by a micro service. The service and the server are
// in this process.
//
//	go test -run - -bench Service -benchtime 100000x ./pipeline
func BenchmarkService(b *testing.B) {
	w := setup(b)
	w.service("stats", func(r micro.Request) { _ = r.Respond([]byte(`{"members":42}`)) })
	for i := range 100 {
		if _, _, err := w.store.UpgradeTier(b.Context(), fmt.Sprintf("comm_%03d", i), tenant.Enterprise); err != nil {
			b.Fatal(err)
		}
	}
	worksOff(b, w)
}

func (b *bundle) ensure() {
	b.t.Helper()
	if err := streams.Ensure(b.t.Context(), b.js, nil, streams.Options{Storage: jetstream.MemoryStorage}, discard); err != nil {
		b.t.Fatal(err)
	}
}

// BenchmarkFairQueue is one delivery through the queue of the handle stage, in batches of 64.
func BenchmarkFairQueue(b *testing.B) {
	const together = 64
	for _, communities := range []int{1, 16, 1_000} {
		b.Run(fmt.Sprintf("communities=%d", communities), func(b *testing.B) {
			q := newFairQueue(256, 0)
			all := make([]*delivery, max(together, communities))
			for i := range all {
				all[i] = queued(fmt.Sprint("c", i%communities), i)
			}
			if communities > together { // the others have a backlog
				q.put(all[together:])
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += together {
				q.put(all[:together])
				d, _ := q.next()
				for n := range together {
					all[n] = d
					if n == together-1 {
						q.done(d, time.Microsecond)
					} else {
						d, _ = q.doneAndNext(d, time.Microsecond)
					}
				}
			}
		})
	}
}

// BenchmarkFairQueueCapped is one delivery through the queue while so many communities have all the handlers that they
// may have at once.
func BenchmarkFairQueueCapped(b *testing.B) {
	for _, communities := range []int{1, 16, 200} {
		b.Run(fmt.Sprintf("communities=%d", communities), func(b *testing.B) {
			s := simulate(b, 256, 0)
			for i := range communities {
				s.flood(fmt.Sprint("c", i), 1, 10*time.Millisecond)
			}
			s.run(time.Second)
			running := s.q.stillRunning()
			b.ReportAllocs()
			for i := range b.N {
				slot, last := i*7%len(running), len(running)-1
				d := running[slot]
				running[slot], running = running[last], running[:last]
				s.q.done(d, 10*time.Millisecond)
				s.q.put([]*delivery{d})
				for next := s.q.tryNext(); next != nil; next = s.q.tryNext() {
					running = append(running, next)
				}
			}
		})
	}
}
