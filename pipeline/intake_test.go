package pipeline

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func intakeSource() *source {
	s := newRouteSource(nil, contract.KindCommand.Route(), discard)
	s.ackWait.Store(int64(30 * time.Second))
	return s
}

// fill takes in messages of one byte until the source has no room, and returns how many.
func (in *intake) fill(s *source) (n int) {
	for in.room(s) && n < 10_000 {
		in.enter(context.Background(), s, load{1, 1})
		n++
	}
	return n
}

// TestIntakeLeavesRoomForOthers: one source gets half of the bytes, two get a third each, and whatever others have, a
// source may have its part.
func TestIntakeLeavesRoomForOthers(t *testing.T) {
	in := newIntake()
	in.bytes = 6_400
	a, b := intakeSource(), intakeSource()
	if n := in.fill(a); n != 3_200 {
		t.Errorf("one source has %d of 6,400 bytes, want half", n)
	}
	if n := in.fill(b); n != 1_600 {
		t.Errorf("the second has %d, want half of what was free", n)
	}
	a.pause()
	in.enter(t.Context(), a, load{0, 10_000}) // what was on its way
	if n := in.fill(intakeSource()); n != 100 {
		t.Errorf("a third has %d beside sources that have more than everything, want 1/64", n)
	}
	few := intakeSource()
	few.most.messages = 7
	if n := in.fill(few); n != 7 {
		t.Errorf("%d messages of at most 7", n)
	}
}

// TestIntakeWaitsForRoom: a source that has no room waits until messages end, whosever they are; after a second it stops
// pulling, and what is on its way is taken in at once.
func TestIntakeWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIntake()
		in.bytes = 1_000
		a, b := intakeSource(), intakeSource()
		in.enter(t.Context(), a, load{10, 400})
		in.enter(t.Context(), b, load{1, 500})
		began := time.Now()
		go func() {
			<-time.After(400 * time.Millisecond)
			in.leave(b, load{1, 500})
		}()
		in.enter(t.Context(), a, load{1, 200})
		if took := time.Since(began); took != 400*time.Millisecond || a.paused.Load() {
			t.Errorf("has waited for %v, paused %t, want 400 ms", took, a.paused.Load())
		}
		in.enter(t.Context(), a, load{1, 200})
		if took := time.Since(began); took != 1400*time.Millisecond || !a.paused.Load() || len(a.lost) != 1 {
			t.Errorf("has gone on after %v, paused %t, want a second more and that it stops pulling", took, a.paused.Load())
		}
		in.enter(t.Context(), a, load{1, 200})
		if took := time.Since(began); took != 1400*time.Millisecond {
			t.Errorf("what is on its way has waited until %v", took)
		}
		resumed := make(chan bool)
		go func() { resumed <- a.resume(t.Context(), in) }()
		in.leave(a, load{1, 200})
		synctest.Wait()
		select {
		case <-resumed:
			t.Error("pulls again without room")
		default:
		}
		in.leave(a, load{2, 400})
		if !<-resumed || a.paused.Load() {
			t.Error("does not pull again")
		}
		if in.held != 400 || a.held != (load{10, 400}) || len(in.waiting) != 0 {
			t.Errorf("holds %d bytes, %+v of one source, %d wait", in.held, a.held, len(in.waiting))
		}
	})
}

// F8: while admitted messages that wait for their handlers fill the intake, senders over their limit are told so, others
// are handled, and no message is delivered again, wherever it waits.
func TestF8FullIntakeHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const (
		bodies  = 600
		size    = 16 << 10
		ackWait = 6 * time.Second
	)
	b := setup(t)
	release := make(chan struct{})
	var runs atomic.Int64
	b.handlers.Event("big", func(context.Context, *Message) (any, error) {
		<-release
		runs.Add(1)
		return nil, nil
	})
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	b.ensure()
	c, err := b.js.UpdateConsumer(t.Context(), contract.StreamEvents, jetstream.ConsumerConfig{
		Durable: contract.ConsumerEvent, FilterSubject: "events.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		MaxAckPending: 10_000, MaxDeliver: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	o := b.defaults()
	o.HandlerConcurrency, o.TenantConcurrency = 32, 1
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p.decode.intake.bytes = 1 << 20 // so that one source has half a MiB, and a batch more
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	testserver.Succeeds(t, "the worker is ready", p.Ready)
	for i := range 10 {
		b.outcome(b.publish("commands.interaction", command("over", "ping", fmt.Sprint("o", i))))
	}
	pad := make([]byte, size)
	for i := range pad {
		pad[i] = ' '
	}
	src := p.decode.all()[contract.KindEvent]
	for i := range bodies {
		if i == bodies/2 { // what comes in one batch is taken in whole; the second half must meet a full intake
			testserver.Eventually(t, "the first half is taken in", func() bool {
				return p.decode.intake.total() >= bodies/2*size || src.paused.Load()
			})
		}
		body := append(fmt.Appendf(nil, `{"event_id":"b%d","event_type":"big","community_id":"noisy%d"}`, i, i%20), pad...)
		if _, err := b.js.PublishAsync("events.big", body, patient); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "the source has no room", func() bool { return src.paused.Load() })

	began := time.Now()
	for n := 0; time.Since(began) < 2*ackWait; n++ {
		if o := b.outcome(b.publish("commands.interaction", command("over", "ping", fmt.Sprint("r", n)))); o.Status != contract.StatusRateLimited {
			t.Fatalf("over the limit: %+v", o)
		}
		if o := b.outcome(b.publish("commands.interaction", command(fmt.Sprint("other", n), "ping", fmt.Sprint("q", n)))); o.Status != contract.StatusOK {
			t.Fatalf("another community: %+v", o)
		}
		if err := p.Ready(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.NumRedelivered != 0 {
		t.Errorf("%d messages were delivered again", info.NumRedelivered)
	}
	close(release)
	testserver.Eventually(t, "all are handled", func() bool { return b.left(contract.StreamEvents, contract.ConsumerEvent) == 0 })
	if n := runs.Load(); n != bodies {
		t.Errorf("%d handlers ran for %d messages", n, bodies)
	}
	testserver.Eventually(t, "the intake is empty", func() bool { return p.decode.intake.total() == 0 })
	if src.held.messages != 0 || src.most.bytes != math.MaxInt64 {
		t.Errorf("the source holds %+v", src.held)
	}
}
