package pipeline

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// held starts a micro service for a command that answers nothing by itself, and returns the requests that it gets.
func (b *bundle) held(command string) <-chan micro.Request {
	b.t.Helper()
	requests := make(chan micro.Request, 1_000) // more than a test sends
	b.service(command, func(r micro.Request) { requests <- r })
	return requests
}

// unlimited makes communities without a limit.
func (b *bundle) unlimited(communities ...string) {
	b.t.Helper()
	for _, c := range communities {
		if _, _, err := b.store.UpgradeTier(b.t.Context(), c, tenant.Enterprise); err != nil {
			b.t.Fatal(err)
		}
	}
}

// HANDLER_CONCURRENCY bounds requests to services and Go functions together, and a request does not hold a worker.
func TestRequestsAreBoundedWithGoHandlers(t *testing.T) {
	t.Parallel()
	const concurrency, services, functions = 8, 6, 8
	b := setup(t)
	b.options = func(o *Options) { o.HandlerConcurrency = concurrency }
	release := make(chan struct{})
	var ran atomic.Int64
	b.handlers.Command("function", func(context.Context, *Message) (any, error) {
		ran.Add(1)
		<-release
		return nil, nil
	})
	requests := b.held("service")
	p, _ := b.start()
	for i := range functions { // communities of their own, so that none is at a cap
		if i < services {
			b.unlimited(fmt.Sprint("s", i))
			b.send("commands.interaction", command(fmt.Sprint("s", i), "service", fmt.Sprint("service", i)))
		}
		b.unlimited(fmt.Sprint("f", i))
		b.send("commands.interaction", command(fmt.Sprint("f", i), "function", fmt.Sprint("function", i)))
	}
	depth := func(wantWaiting, wantRunning int) func() bool {
		return func() bool {
			waiting, running := p.admitted.depth()
			return waiting == wantWaiting && running == wantRunning
		}
	}
	testserver.Eventually(t, "as many run as may", depth(services+functions-concurrency, concurrency))
	if n := len(requests) + int(ran.Load()); n > concurrency {
		t.Errorf("%d handlers run, want at most %d", n, concurrency)
	}
	close(release)
	testserver.Eventually(t, "the requests are left", depth(0, services))
	testserver.Eventually(t, "no worker is held by them", func() bool {
		p.admitted.mu.Lock()
		defer p.admitted.mu.Unlock()
		return p.admitted.idle == concurrency
	})
	for range services {
		_ = (<-requests).Respond(nil)
	}
	testserver.Eventually(t, "all are done", depth(0, 0))
}

// HANDLER_TIMEOUT holds for services.
func TestServiceThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held("silent")
	b.options = func(o *Options) { o.HandlerTimeout, o.MaxAttempts = 100*time.Millisecond, 1 }
	b.start()
	o := b.outcome(b.publish("commands.interaction", command("c1", "silent", "e1")))
	if o.Status != contract.StatusError || o.Error == nil || o.Error.Code != http.StatusGatewayTimeout {
		t.Errorf("outcome %+v, error %+v; want 504", o, o.Error)
	}
}

// A drain waits for the replies to requests in flight.
func TestDrainWaitsForReplies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	requests := b.held("slow")
	p, stop := b.start()
	outcome := b.publish("commands.interaction", command("c1", "slow", "e1"))
	request := <-requests
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	testserver.Eventually(t, "the sources have ended", func() bool {
		p.admitted.mu.Lock()
		defer p.admitted.mu.Unlock()
		return p.admitted.closed
	})
	_ = request.Respond([]byte(`"answered"`))
	if o := b.outcome(outcome); string(o.Result) != `"answered"` {
		t.Errorf("outcome %+v, result %s", o, o.Result)
	}
	<-stopped
	// The server has received the last ack, and takes it in.
	testserver.Eventually(t, "no message is left", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
}

// A shutdown whose time is up gives requests in flight back: that is no attempt, and another process gets the message at
// once.
func TestShutdownGivesRequestsBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.slowRedelivery()
	requests := b.held("slow")
	b.options = func(o *Options) { o.MaxAttempts = 1 }
	b.drain = 50 * time.Millisecond
	_, stop := b.start()
	outcome := b.publish("commands.interaction", command("c1", "slow", "e1"))
	<-requests
	stop()
	b.start()
	testserver.Eventually(t, "it comes again", func() bool { return len(requests) == 1 })
	_ = (<-requests).Respond([]byte(`"answered"`))
	if o := b.outcome(outcome); string(o.Result) != `"answered"` {
		t.Errorf("outcome %+v, error %+v", o, o.Error)
	}
}

// All replies come from one goroutine, which must not wait for Redis: it is told of failures and of messages that come
// again.
func TestSlowRedisHoldsUpNoReply(t *testing.T) {
	t.Parallel()
	b := setup(t)
	proxy := testserver.Proxy(t, b.redis.Addr())
	slow := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true, ReadTimeout: testserver.Patience})
	t.Cleanup(func() { _ = slow.Close() })
	requests := b.held("work")
	b.options = func(o *Options) { o.Redis = slow } // of attempts; tenants and limits have another
	b.unlimited("bad", "good")
	b.start()
	b.send("commands.interaction", command("bad", "work", "e1"))
	failing := <-requests
	proxy.Stall()
	_ = failing.Error("500", "broken", nil)
	for i := range 20 {
		outcome := b.publish("commands.interaction", command("good", "work", fmt.Sprint("good", i)))
		_ = (<-requests).Respond([]byte(`"fine"`))
		if o := b.outcome(outcome); o.Status != contract.StatusOK {
			t.Fatalf("outcome %+v, error %+v", o, o.Error)
		}
	}
	if waiting := b.counted("arrakis_tenant_errors_total", "error_type", "handler_error"); waiting != 0 {
		t.Error("the failure was written down: Redis was not slow")
	}
	proxy.Resume()
	testserver.Eventually(t, "the failure is counted", func() bool {
		return b.counted("arrakis_tenant_errors_total", "error_type", "handler_error") == 1
	})
}

// A long result gets a goroutine of its own, and arrives whole.
func TestLongResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := `"` + strings.Repeat("0123456789", shortReply) + `"`
	b.service("long", func(r micro.Request) { _ = r.Respond([]byte(text)) })
	b.start()
	if o := b.outcome(b.publish("commands.interaction", command("c1", "long", "e1"))); string(o.Result) != text {
		t.Errorf("outcome %.100v, a result of %d bytes, want %d", o, len(o.Result), len(text))
	}
}
