package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// The variables with which this test binary runs as a worker whose handler of "poison" kills the process.
const (
	asWorkerNATS  = "ARRAKIS_TEST_WORKER_NATS"
	asWorkerRedis = "ARRAKIS_TEST_WORKER_REDIS"
)

const (
	killedAttempts = 2  // MaxAttempts of these workers
	innocents      = 20 // messages that are handled beside the poison
)

// runAsWorker is the main function of such a worker. It returns only if the worker cannot run.
func runAsWorker() error {
	nc, err := nats.Connect(os.Getenv(asWorkerNATS))
	if err != nil {
		return err
	}
	p := &poisoned{registry: prometheus.NewRegistry(), begun: map[string]bool{}}
	handlers := pipeline.NewHandlers()
	handlers.Command("poison", p.poison)
	handlers.Command("innocent", p.innocent)
	w, err := New(Options{
		NATS: nc, Redis: redis.NewClient(&redis.Options{Addr: os.Getenv(asWorkerRedis), ContextTimeoutEnabled: true}),
		Handlers: handlers, MaxAttempts: killedAttempts, Registry: p.registry,
	})
	if err != nil {
		return err
	}
	return w.Run(context.Background())
}

// poisoned is the process of such a worker, as its handlers see it.
type poisoned struct {
	registry *prometheus.Registry
	striking atomic.Bool // the poison is being handled

	mu    sync.Mutex      // protects the fields below
	begun map[string]bool // event IDs of the innocent messages that were handled
}

// poison kills the process once innocent messages have begun or were put off as often as there are such messages, which
// is as a rule each of them once, and when its time is up in any case. The test holds whenever it does.
func (p *poisoned) poison(ctx context.Context, _ *pipeline.Message) (any, error) {
	p.striking.Store(true)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for p.seen() < innocents && ctx.Err() == nil {
		<-look.C
	}
	os.Exit(1)
	return nil, nil
}

// innocent is killed in its first attempt, and in a later one if the poison is handled beside it.
func (p *poisoned) innocent(ctx context.Context, m *pipeline.Message) (any, error) {
	p.mu.Lock()
	p.begun[m.EventID] = true
	p.mu.Unlock()
	if m.Attempt == 1 || p.striking.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return "done", nil
}

// seen counts the innocent messages that have begun, and how often any was put off: a message put off twice counts twice.
func (p *poisoned) seen() int {
	p.mu.Lock()
	n := len(p.begun)
	p.mu.Unlock()
	families, err := p.registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == "arrakis_retries_total" {
			for _, m := range f.GetMetric() {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// A message that kills its worker each time becomes a dead letter, and the messages that were being handled beside it
// do not.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	nc := testserver.ConnectNATS(t, testserver.NATS(t).URL())
	js := testserver.JetStream(t, nc)
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}.WithDefaults(), Defaults().Logger); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	config := consumer.CachedInfo().Config
	config.AckWait = 3 * time.Second // what a killed worker held comes again soon, and what a slow one holds does not
	if _, err := js.UpdateConsumer(t.Context(), contract.StreamCommands, config); err != nil {
		t.Fatal(err)
	}
	stopWorkers := superviseWorker(t, nc.ConnectedUrl(), testserver.Redis(t).Addr())

	inbox, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, js, inbox.Subject, "poison", 0)
	for i := range innocents {
		publish(t, js, inbox.Subject, "innocent", i+1)
	}
	statuses := map[string]contract.Status{}
	for len(statuses) < innocents+1 {
		msg, err := inbox.NextMsg(testserver.Patience)
		if err != nil {
			t.Fatalf("%d outcomes, want %d: %v", len(statuses), innocents+1, err)
		}
		var o contract.Outcome
		if err := json.Unmarshal(msg.Data, &o); err != nil {
			t.Fatal(err)
		}
		statuses[o.EventID] = o.Status
	}
	kills := stopWorkers()
	for id, status := range statuses {
		if id != "poison-0" && status != contract.StatusOK {
			t.Errorf("%s: %s, want ok", id, status)
		}
	}
	letter, err := lastDeadLetter(t, js)
	if err != nil {
		t.Fatal(err)
	}
	if letter.Subject != "deadletter.COMMANDS.worker_killed" || letter.Header.Get(contract.HeaderAttempts) != "2" {
		t.Errorf("dead letter %s, %v; want worker_killed after 2 attempts", letter.Subject, letter.Header)
	}
	if kills < killedAttempts || kills > killedAttempts+1 {
		t.Errorf("%d workers died, want %d, and one more for the first delivery", kills, killedAttempts)
	}
}

// publish stores a command of a community of its own.
func publish(t *testing.T, js jetstream.JetStream, inbox, name string, i int) {
	t.Helper()
	msg := nats.NewMsg("commands.interaction")
	msg.Header.Set(contract.HeaderReplyTo, inbox)
	msg.Data = fmt.Appendf(nil, `{"event_id":"%s-%d","event_type":"interaction.create","guild_id":"c%d","data":{"command_name":%q}}`, name, i, i, name)
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

// lastDeadLetter returns the one dead letter that there must be.
func lastDeadLetter(t *testing.T, js jetstream.JetStream) (*jetstream.RawStreamMsg, error) {
	t.Helper()
	s, err := js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		return nil, err
	}
	if n := s.CachedInfo().State.Msgs; n != 1 {
		return nil, fmt.Errorf("%d dead letters, want 1", n)
	}
	return s.GetMsg(t.Context(), s.CachedInfo().State.LastSeq)
}

// superviseWorker runs a worker as a process of its own, and another one whenever it has died. The function that it
// returns ends that, and returns how many workers have died by themselves.
func superviseWorker(t *testing.T, natsURL, redisAddr string) (stop func() (deaths int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan int, 1)
	go func() {
		deaths := 0
		for {
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^$")
			cmd.Env = append(os.Environ(), asWorkerNATS+"="+natsURL, asWorkerRedis+"="+redisAddr)
			cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
			_ = cmd.Run() // it is killed, or kills itself
			if ctx.Err() != nil {
				done <- deaths
				return
			}
			deaths++
		}
	}()
	stopped := false
	stop = func() int {
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return stop
}
