package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// TestInvariantNothingLost (I3) stops the worker three times under 2,000 messages a second; the next one handles what
// it left. A drain finishes what it has, so that nothing is even delivered twice.
func TestInvariantNothingLost(t *testing.T) {
	t.Parallel()
	const messages, perSecond, workers = 6_000, 2_000, 4
	b := setup(t)
	if _, _, err := b.store.UpgradeTier(t.Context(), "busy", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	handled := map[string]int{}
	b.handlers.Command("work", func(_ context.Context, m *Message) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		handled[m.EventID]++
		return nil, nil
	})
	b.ensure()

	published := make(chan struct{})
	var publisher sync.WaitGroup
	defer publisher.Wait()
	publisher.Go(func() {
		defer close(published)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := range messages {
			if i%(perSecond/100) == 0 {
				<-tick.C
			}
			if _, err := b.js.PublishAsync("commands.interaction", command("busy", "work", fmt.Sprintf("e%d", i)), patient); err != nil {
				t.Errorf("publish: %v", err)
			}
		}
		<-b.js.PublishAsyncComplete()
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(handled)
	}
	for worker := range workers {
		_, stop := b.start()
		if last := worker == workers-1; last {
			<-published
			testserver.Eventually(b.t, "everything is handled", func() bool { return count() == messages })
		} else {
			from := count()
			testserver.Eventually(b.t, "the worker is in the thick of it", func() bool { return count() > min(from+200, messages-1) })
		}
		stop()
	}
	// The server has received the last acks, and takes them in one after the other.
	testserver.Eventually(t, "no message is left", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	for id, n := range handled {
		if n != 1 {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
}

// slowRedelivery makes the ack wait of commands so long that within a test no message comes again for it: what comes
// again was given back.
func (b *bundle) slowRedelivery() {
	b.t.Helper()
	b.ensure()
	b.setAckWait(contract.StreamCommands, contract.ConsumerCommand, time.Hour)
}

// A shutdown whose time is up aborts handlers and gives their messages back.
func TestShutdownTimeoutGivesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.slowRedelivery()
	running := make(chan struct{}, 1)
	var interrupted atomic.Bool
	b.handlers.Command("stuck", func(ctx context.Context, _ *Message) (any, error) {
		if interrupted.Swap(true) {
			return "second delivery", nil
		}
		running <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	b.drain = 50 * time.Millisecond
	_, stop := b.start()
	first := b.publish("commands.interaction", command("c1", "stuck", "e1"))
	<-running
	stop()
	b.start()
	if o := b.outcome(first); o.Status != contract.StatusOK {
		t.Errorf("first: %+v", o)
	}
}

// F15: handlers that ignore their context do not hold the process, and whatever it has is given back: what they run,
// what waits for a handler, and what has arrived and waits for room. Another process gets it at once, and not after the
// ack wait.
func TestF15ShutdownGivesEverythingBack(t *testing.T) {
	t.Parallel()
	t.Run("that waits for a handler", func(t *testing.T) {
		t.Parallel()
		giveBackAll(t, 3_000, intakeBytes, func(p *Pipeline) bool {
			waiting, _ := p.admitted.depth()
			return waiting == 3_000-2
		})
	})
	t.Run("that waits for room", func(t *testing.T) {
		t.Parallel()
		giveBackAll(t, 3_000, 1, func(p *Pipeline) bool {
			src := p.decode.all()[contract.KindCommand]
			return src.messages.Full() || src.paused.Load()
		})
	})
}

// giveBackAll gives a worker with an intake of so many bytes messages, until full reports that they are where they
// should be, and stops it.
func giveBackAll(t *testing.T, messages int, intake int64, full func(*Pipeline) bool) {
	t.Helper()
	const workers = 2
	b := setup(t)
	const communities = 150 // so many that none has enough messages to be over its due
	for i := range communities {
		if _, _, err := b.store.UpgradeTier(t.Context(), fmt.Sprintf("c%d", i), tenant.Enterprise); err != nil {
			t.Fatal(err)
		}
	}
	b.slowRedelivery()
	var deaf sync.WaitGroup // handlers that ignore their context
	deaf.Add(workers)
	release := make(chan struct{})
	defer close(release)
	b.handlers.Command("deaf", func(context.Context, *Message) (any, error) {
		deaf.Done()
		<-release
		return nil, nil
	})
	o := b.defaults()
	o.HandlerConcurrency, o.Shards, o.ShardMailbox = workers, 1, 20
	o.TenantConcurrency = workers
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p.decode.intake.bytes = intake
	p.timeout, p.aborting = 8500*time.Millisecond, 8*time.Second // half of it is for the handlers, which take all of it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, ctx) }()
	testserver.Succeeds(t, "the worker is ready", p.Ready)
	for i := range messages {
		if i == workers+3 {
			deaf.Wait()
			testserver.Eventually(t, "messages wait for a handler", func() bool { waiting, _ := p.admitted.depth(); return waiting > 0 })
		}
		if _, err := b.js.PublishAsync("commands.interaction", command(fmt.Sprintf("c%d", i%communities), "deaf", fmt.Sprintf("e%d", i)), patient); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "the worker has the messages", func() bool { return full(p) })
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "command deaf") {
		t.Errorf("Run returned %v, want an error that names the handler", err)
	}

	b.handleAll("deaf", messages)
}

// handleAll starts a worker and waits until it has handled n different commands of that name.
func (b *bundle) handleAll(name string, n int) {
	b.t.Helper()
	handled := make(map[string]bool)
	var mu sync.Mutex // protects handled
	b.handlers = NewHandlers()
	b.handlers.Command(name, func(_ context.Context, m *Message) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		handled[m.EventID] = true
		return nil, nil
	})
	b.start()
	testserver.Eventually(b.t, "another worker has handled everything", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(handled) == n
	})
}

// A shutdown's time is a whole: its parts do not exceed it.
func TestF15AbortTime(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{time.Second: 250 * time.Millisecond, 30 * time.Second: 3 * time.Second, 0: 0} {
		if got := abortTime(timeout); got != want {
			t.Errorf("of %v: %v, want %v", timeout, got, want)
		}
	}
}
