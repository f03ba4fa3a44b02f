package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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

const killedAttempts = 2 // MaxAttempts of these workers

// runAsWorker is the main function of such a worker. It returns only if the worker cannot run.
func runAsWorker() error {
	nc, err := nats.Connect(os.Getenv(asWorkerNATS))
	if err != nil {
		return err
	}
	handlers := pipeline.NewHandlers()
	handlers.Command("poison", func(context.Context, *pipeline.Message) (any, error) {
		<-time.After(50 * time.Millisecond) // the others are running by now
		os.Exit(1)
		return nil, nil
	})
	handlers.Command("innocent", func(context.Context, *pipeline.Message) (any, error) {
		<-time.After(100 * time.Millisecond)
		return "done", nil
	})
	w, err := New(Options{
		NATS: nc, Redis: redis.NewClient(&redis.Options{Addr: os.Getenv(asWorkerRedis), ContextTimeoutEnabled: true}),
		Handlers: handlers, MaxAttempts: killedAttempts,
	})
	if err != nil {
		return err
	}
	return w.Run(context.Background())
}

// A message that kills its worker each time becomes a dead letter, and the messages that were being handled beside it
// do not.
func TestWorkerKilled(t *testing.T) {
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
	config.AckWait = time.Second // what a killed worker held comes again soon
	if _, err := js.UpdateConsumer(t.Context(), contract.StreamCommands, config); err != nil {
		t.Fatal(err)
	}
	stopWorkers := superviseWorker(t, nc.ConnectedUrl(), testserver.Redis(t).Addr())

	inbox, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	const innocents = 20
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
