package pipeline

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// logTo makes workers log to the buffer.
func (b *bundle) logTo() *testserver.Output {
	l := new(testserver.Output)
	b.options = func(o *Options) { o.Logger = l.Logger() }
	return l
}

// unready waits until the worker is not ready and says all texts.
func unready(t *testing.T, p *Pipeline, texts ...string) {
	t.Helper()
	testserver.Eventually(t, "the worker is not ready and says "+strings.Join(texts, ", "), func() bool {
		err := p.Ready()
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				return false
			}
		}
		return true
	})
}

// F9: JetStream is switched off, and NATS stays connected.
func TestF9JetStreamOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := b.logTo()
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	logger := b.options
	b.options = func(o *Options) { logger(o); o.Streams.Storage = jetstream.FileStorage }
	p, _ := b.start()
	b.server.DisableJetStream()
	unready(t, p, "consumer command-worker of COMMANDS: JetStream does not answer", "stream DEADLETTER")
	testserver.Eventually(t, "the log says so", func() bool { return log.Count("JetStream does not work: not ready") > 0 })
	if !b.nc.IsConnected() {
		t.Error("NATS is not connected either: the test shows nothing")
	}
	b.server.Stop()
	b.server.Start()
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
	testserver.Eventually(t, "the log says so", func() bool { return log.Count("JetStream works again") == 1 })
	if n := log.Count("JetStream does not work: not ready"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if o := b.outcome(b.publish("commands.interaction", command("c1", "ping", "e1"))); o.Status != contract.StatusOK {
		t.Errorf("after the return of JetStream: %+v", o)
	}
}

// F9: a stream is deleted, once one with a consumer and once one without. Both are made again.
func TestF9StreamDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := b.logTo()
	p, _ := b.start()
	if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	unready(t, p, "consumer command-worker of COMMANDS: not pulling")
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
	if err := b.js.DeleteStream(t.Context(), contract.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	unready(t, p, "stream DEADLETTER: it does not exist")
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
	for text, want := range map[string]int{"not pulling: trying again": 1, "pulling again": 1, "JetStream does not work: not ready": 1} {
		testserver.Eventually(t, "the log says: "+text, func() bool { return log.Count(text) >= want })
		if n := log.Count(text); n != want {
			t.Errorf("%q is logged %d times, want %d", text, n, want)
		}
	}
}

// F9: a stream is deleted and cannot be made again, because another one has its subjects by now.
func TestF9StreamCannotBeCreated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := b.logTo()
	p, _ := b.start()
	ctx := t.Context()
	config := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Storage: jetstream.MemoryStorage}
	if _, err := b.js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(ctx, contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	config.Subjects = []string{"commands.>"}
	if _, err := b.js.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	unready(t, p, "consumer command-worker of COMMANDS: not pulling", "cannot be created", "create stream COMMANDS", "overlap")
	if err := b.js.DeleteStream(ctx, "OTHER"); err != nil {
		t.Fatal(err)
	}
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
	for _, text := range []string{"streams cannot be created or checked", "can be created and checked again"} {
		if n := log.Count(text); n != 1 {
			t.Errorf("%q is logged %d times", text, n)
		}
	}
}

// F9: streams could not be created, and then all is well without the worker. Nothing makes it try again, as after a
// cluster lost its leader for a while, but the worker must notice.
func TestF9StreamsMendedByOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, _ := b.start()
	ctx := t.Context()
	stream, err := b.js.Stream(ctx, contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	other := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Storage: jetstream.MemoryStorage}
	if _, err := b.js.CreateStream(ctx, other); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(ctx, contract.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	other.Subjects = config.Subjects
	if _, err := b.js.UpdateStream(ctx, other); err != nil {
		t.Fatal(err)
	}
	unready(t, p, "cannot be created", "create stream DEADLETTER", "overlap")
	if err := b.js.DeleteStream(ctx, "OTHER"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateOrUpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
}

// F9: messages are pending, and none is delivered.
func TestF9Stall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	p, _ := b.start()
	stream, err := b.js.Stream(t.Context(), contract.StreamCommands)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.PauseConsumer(t.Context(), contract.ConsumerCommand, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	outcome := b.publish("commands.interaction", command("c1", "ping", "e1"))
	unready(t, p, "consumer command-worker of COMMANDS: messages are pending, but none is delivered", "1 pending", "paused")
	if _, err := stream.ResumeConsumer(t.Context(), contract.ConsumerCommand); err != nil {
		t.Fatal(err)
	}
	if o := b.outcome(outcome); o.Status != contract.StatusOK {
		t.Errorf("after the pause: %+v", o)
	}
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
}

// F9: with two servers of three gone, consumers have no leader. When one is back, so is the worker.
func TestF9NoLeader(t *testing.T) {
	t.Parallel()
	nodes := testserver.NATSCluster(t, 3)
	b := setupOn(t, nodes[0].Connect(t, nats.MaxReconnects(-1)))
	log := b.logTo()
	logger := b.options
	b.options = func(o *Options) { logger(o); o.Streams.Replicas, o.Streams.Storage = 3, jetstream.FileStorage }
	p, _ := b.start()
	nodes[1].Stop()
	nodes[2].Stop()
	unready(t, p, "consumer command-worker of COMMANDS: ")
	if !b.nc.IsConnected() {
		t.Error("NATS is not connected either: the test shows nothing")
	}
	nodes[1].Start()
	testserver.Succeeds(t, "the two have elected leaders", func() error {
		_, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
		return err
	})
	testserver.Succeeds(t, "the worker is ready again", p.Ready)
	if log.Count("JetStream does not work: not ready") == 0 {
		t.Error("the log does not say so")
	}
}

// F9: what counts as a stall.
func TestF9StallCriterion(t *testing.T) {
	t.Parallel()
	info := func(pending uint64, unacknowledged int, delivered uint64) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{
			Config:     jetstream.ConsumerConfig{MaxAckPending: 100},
			NumPending: pending, NumAckPending: unacknowledged, Delivered: jetstream.SequenceInfo{Consumer: delivered},
		}
	}
	type look struct {
		info *jetstream.ConsumerInfo
		full bool
	}
	for _, tt := range []struct {
		name  string
		looks []look // 5 s apart
		want  time.Duration
	}{
		{"nothing pending", []look{{info(0, 0, 7), false}, {info(0, 0, 7), false}}, 0},
		{"pending, none delivered", []look{{info(3, 0, 7), false}, {info(3, 0, 7), false}, {info(4, 0, 7), false}}, 10 * time.Second},
		{"one is delivered, to whichever process", []look{{info(3, 0, 7), false}, {info(3, 0, 8), false}, {info(3, 0, 8), false}}, 5 * time.Second},
		{"published a moment ago", []look{{info(0, 0, 7), false}, {info(9, 0, 7), false}}, 0},
		{"this process is behind", []look{{info(3, 50, 7), true}, {info(3, 50, 7), true}}, 0},
		{"all that may be is unacknowledged", []look{{info(3, 100, 7), false}, {info(3, 100, 7), false}}, 0},
		{"until one is acknowledged", []look{{info(3, 100, 7), false}, {info(3, 99, 7), false}, {info(3, 99, 7), false}}, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s stall
			var got time.Duration
			for i, l := range tt.looks {
				got = s.see(l.info, l.full, time.Unix(int64(5*i), 0))
			}
			if got != tt.want {
				t.Errorf("stalled for %v, want %v", got, tt.want)
			}
		})
	}
}

// F9: one lost answer is no fault, three in a row are; a good one ends it.
func TestF9LostAnswers(t *testing.T) {
	t.Parallel()
	var tg target
	silent := &fault{what: faultSilent}
	for i, step := range []struct {
		look *fault
		want bool
	}{{silent, false}, {silent, false}, {nil, false}, {silent, false}, {silent, false}, {silent, true}, {silent, true}, {nil, false}, {&fault{what: faultGone}, true}} {
		tg.judge(step.look)
		if got := tg.state() != nil; got != step.want {
			t.Errorf("after look %d: a fault is %v, want %v", i+1, got, step.want)
		}
	}
}
