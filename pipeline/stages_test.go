package pipeline

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/tracing"
	"arrakis/shard"
	"arrakis/tenant"
)

// stored is a message as JetStream delivers it, without a connection: what the stages cost is measured without what
// NATS costs.
type stored struct {
	jetstream.Msg
	reply   string
	data    []byte
	headers nats.Header
	acked   *atomic.Int64
}

func (s *stored) Data() []byte         { return s.data }
func (s *stored) Reply() string        { return s.reply }
func (s *stored) Subject() string      { return "commands.interaction" }
func (s *stored) Headers() nats.Header { return s.headers }
func (s *stored) Ack() error           { s.acked.Add(1); return nil }
func (s *stored) InProgress() error    { return nil }

// stages are the stages of a worker without its sources.
type stages struct {
	*bundle
	p       *Pipeline
	sorter  *shard.Sorter[*delivery]
	headers nats.Header // of all messages
	acked   atomic.Int64
	sent    int64
}

func runStages(b *bundle) *stages {
	b.t.Helper()
	b.handlers.Command("stats", func(context.Context, *Message) (any, error) { return nil, nil })
	o := b.defaults()
	o.Shards = 64
	if b.options != nil {
		b.options(&o)
	}
	p, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, src := range p.decode.all() {
		src.ackWait.Store(int64(time.Hour)) // telling that they are in progress is not measured
	}
	var g errgroup.Group
	ctx := context.Background()
	g.Go(func() error { defer p.admitted.close(); return p.limit.run(ctx) })
	g.Go(func() error { defer p.ended.Close(); return p.handle.run(ctx) })
	g.Go(func() error { return p.metrics.run(ctx) })
	b.t.Cleanup(func() {
		p.limit.shards.Close()
		if err := g.Wait(); err != nil {
			b.t.Error(err)
		}
	})
	return &stages{bundle: b, p: p, sorter: p.limit.shards.Sorter()}
}

// messages makes n commands of 420 bytes, of communities named by community.
func (s *stages) messages(n int, community func(i int) string) []arrival {
	msgs := make([]arrival, n)
	for i := range msgs {
		msgs[i] = newArrival(&stored{
			acked: &s.acked,
			reply: fmt.Sprintf("$JS.ACK.COMMANDS.command-worker.1.%d.%d.1767225600123456789.77", i, i),
			data:  fmt.Appendf(nil, typical, i, community(i)), headers: s.headers,
		})
	}
	return msgs
}

// process has the messages go through the stages, in batches as they come from a source at saturation, and waits until
// all are acknowledged.
func (s *stages) process(msgs []arrival) {
	src := s.p.decode.all()[0]
	for len(msgs) > 0 {
		batch := msgs[:min(len(msgs), pullBatch)]
		s.p.decode.intake.enter(context.Background(), src, loadOf(batch))
		if err := s.p.decode.decodeBatch(context.Background(), src, batch, s.sorter); err != nil {
			s.t.Fatal(err)
		}
		s.sent += int64(len(batch))
		msgs = msgs[len(batch):]
	}
	for s.acked.Load() < s.sent {
		runtime.Gosched()
	}
}

func enterprise(int) string { return "comm_000" }

// raceAllocations is 0 but under the race detector.
var raceAllocations float64

// TestDeliverySize: a delivery is one allocation, for which Go has the sizes 896 and 1024, of which it takes 8 bytes for
// itself. One word more costs each message 128 bytes. An order of fields in which small ones stand together may save it.
func TestDeliverySize(t *testing.T) {
	if size := unsafe.Sizeof(delivery{}); size > 888 {
		t.Errorf("a delivery has %d bytes, want at most 888", size)
	}
}

// TestAllocationBudget is what one message may allocate from decode to ack, its handler's call included. A message that is not
// recorded may allocate no more while traces are on.
func TestAllocationBudget(t *testing.T) {
	const messages = 5_000
	for _, tt := range []struct {
		name      string
		community string
		most      float64
		options   func(*Options)
		headers   nats.Header
	}{
		{"handled", "comm_000", 6, nil, nil},
		{"rejected", "comm_099", 2, nil, nil},
		{"handled, traces on", "comm_000", 6, tracesOn, nil},
		{"rejected, traces on", "comm_099", 2, tracesOn, nil},
		{"handled, its sender does not record", "comm_000", 6, tracesOn, unrecorded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			if _, _, err := b.store.UpgradeTier(t.Context(), "comm_000", tenant.Enterprise); err != nil {
				t.Fatal(err)
			}
			b.options = tt.options
			s := runStages(b)
			s.headers = tt.headers
			all := s.messages(2*messages, func(int) string { return tt.community })
			s.process(all[:messages]) // warm: queues have grown, the tenant is cached, its limit is known to be full
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.process(all[messages:])
			runtime.ReadMemStats(&after)
			got := float64(after.Mallocs-before.Mallocs) / messages
			t.Logf("%.2f allocations, %.0f bytes a message", got, float64(after.TotalAlloc-before.TotalAlloc)/messages)
			if got > tt.most+raceAllocations {
				t.Errorf("%.2f allocations a message, want at most %v", got, tt.most)
			}
		})
	}
}

// unrecorded are the headers of a message whose sender does not record it.
var unrecorded = nats.Header{"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}, "tracestate": {"vendor=x"}}

// tracesOn turns traces on. Of messages without a traceparent, none is recorded.
func tracesOn(o *Options) {
	sampler, err := tracing.ParseSampler("parentbased_traceidratio", "1e-12")
	if err != nil {
		panic(err)
	}
	o.Tracer = tracing.New(tracing.Options{Provider: sdktrace.NewTracerProvider(), Sampler: sampler}, o.Registerer)
}

// BenchmarkStages is one message from decode to ack, without NATS. "traces on" is the same with
// traces on, for messages that are not recorded.
//
//	go test -run - -bench Stages ./pipeline
func BenchmarkStages(b *testing.B) {
	mixed := func(i int) string { return fmt.Sprintf("comm_%03d", i%100) }
	for _, bb := range []struct {
		name      string
		community func(int) string
		options   func(*Options)
		headers   nats.Header
	}{
		{"handled", enterprise, nil, nil},
		{"rejected", func(i int) string { return fmt.Sprintf("comm_%03d", 30+i%70) }, nil, nil},
		{"mix", mixed, nil, nil},
		{"mix/traces on", mixed, tracesOn, nil},
		{"mix/unsampled", mixed, nil, unrecorded},
		{"mix/unsampled, traces on", mixed, tracesOn, unrecorded},
	} {
		community := bb.community
		b.Run(bb.name, func(b *testing.B) {
			w := setup(b)
			w.options = bb.options
			storeMix(w)
			s := runStages(w)
			s.headers = bb.headers
			s.process(s.messages(10_000, community))
			msgs := s.messages(b.N, community)
			b.ReportAllocs()
			b.ResetTimer()
			s.process(msgs)
		})
	}
}
