package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// TestInvariantNothingLost (I3) stops the worker three times under 2,000 messages a second; the next one handles what
// it left. A drain finishes what it has, so that nothing is even delivered twice.
func TestInvariantNothingLost(t *testing.T) {
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

// A shutdown whose time is up aborts handlers and gives their messages back.
func TestShutdownTimeoutGivesBack(t *testing.T) {
	b := setup(t)
	running := make(chan struct{}, 1)
	b.handlers.Command("stuck", func(ctx context.Context, m *Message) (any, error) {
		if m.Attempt > 1 {
			return "second attempt", nil
		}
		running <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	b.options = func(o *Options) { o.ShutdownTimeout = 50 * time.Millisecond }
	_, stop := b.start()
	first := b.publish("commands.interaction", command("c1", "stuck", "e1"))
	<-running
	stop()
	b.start()
	if o := b.outcome(first); o.Status != contract.StatusOK {
		t.Errorf("first: %+v", o)
	}
}

// A handler that ignores its context must not hang the process.
func TestShutdownNamesAHandlerThatIgnoresItsContext(t *testing.T) {
	b := setup(t)
	running, release := make(chan struct{}), make(chan struct{})
	b.handlers.Command("deaf", func(context.Context, *Message) (any, error) {
		close(running)
		<-release
		return nil, nil
	})
	o := b.defaults()
	o.ShutdownTimeout = 50 * time.Millisecond
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	testserver.Succeeds(b.t, "the worker is ready", p.Ready)
	b.publish("commands.interaction", command("c1", "deaf", "e1"))
	<-running
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "command deaf") {
		t.Errorf("Run returned %v, want an error that names the handler", err)
	}
	close(release)
}
