package streams_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/streams"
)

func TestMain(m *testing.M) {
	testserver.WaitTogether()
	goleak.VerifyTestMain(m, testserver.NATSLeaks()...)
}

// jetStream is that of a server of the test's own.
func jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	return testserver.JetStream(t, testserver.NATS(t).Connect(t))
}

// lines is a logger and what it has logged, without the time.
func lines() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), &b
}

// plan is what Plan lists, as text.
func plan(t *testing.T, js jetstream.JetStream, o streams.Options) []string {
	t.Helper()
	changes, err := streams.Plan(t.Context(), js, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.String())
	}
	return got
}

func TestEnsureMakesTheContract(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	log, out := lines()
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, log); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "WARN") {
		t.Errorf("a fresh server differs:\n%s", out)
	}

	type row struct {
		Name, Subjects string
		Retention      jetstream.RetentionPolicy
		Discard        jetstream.DiscardPolicy // what a full stream discards
		Storage        jetstream.StorageType
		MaxAge         time.Duration
		MaxBytes       int64
		Consumers      []string
		AckWaits       []time.Duration // ack wait, by consumer
	}
	want := []row{
		{"COMMANDS", "commands.>", jetstream.WorkQueuePolicy, jetstream.DiscardNew, jetstream.FileStorage, 24 * time.Hour, 4 << 30, []string{"command-worker commands.>"}, []time.Duration{30 * time.Second}},
		{"EVENTS", "events.>", jetstream.LimitsPolicy, jetstream.DiscardOld, jetstream.FileStorage, 5 * time.Minute, 1 << 30, []string{"event-worker events.>"}, []time.Duration{15 * time.Second}},
		{"ELIGIBILITY", "eligibility.>", jetstream.WorkQueuePolicy, jetstream.DiscardNew, jetstream.FileStorage, 7 * 24 * time.Hour, 1 << 30, []string{"eligibility-worker eligibility.check.>", "sync-worker eligibility.sync.>"}, []time.Duration{time.Minute, 5 * time.Minute}},
		{"INTERNAL", "internal.>", jetstream.LimitsPolicy, jetstream.DiscardOld, jetstream.MemoryStorage, time.Minute, -1, nil, nil},
		{"DEADLETTER", "deadletter.>", jetstream.LimitsPolicy, jetstream.DiscardOld, jetstream.FileStorage, 30 * 24 * time.Hour, 1 << 30, nil, nil},
		{"RETRY", "retry.> again.>", jetstream.WorkQueuePolicy, jetstream.DiscardOld, jetstream.FileStorage, 24 * time.Hour, 1 << 30, []string{"retry-worker again.>"}, []time.Duration{time.Minute}},
		{"OVERFLOW", "overflow.>", jetstream.WorkQueuePolicy, jetstream.DiscardNew, jetstream.FileStorage, 24 * time.Hour, 1 << 30, []string{"parked-worker overflow.parked.*.*.*"}, []time.Duration{time.Minute}},
	}
	var got []row
	for _, w := range want {
		s, err := js.Stream(t.Context(), w.Name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		r := row{
			Name: c.Name, Subjects: strings.Join(c.Subjects, " "), Retention: c.Retention, Discard: c.Discard,
			Storage: c.Storage, MaxAge: c.MaxAge, MaxBytes: c.MaxBytes,
		}
		consumers := s.ListConsumers(t.Context())
		for info := range consumers.Info() {
			r.Consumers = append(r.Consumers, info.Name+" "+info.Config.FilterSubject)
			r.AckWaits = append(r.AckWaits, info.Config.AckWait)
			if info.Config.AckPolicy != jetstream.AckExplicitPolicy || info.Config.MaxDeliver != -1 || info.Config.MaxAckPending != 10_000 {
				t.Errorf("consumer %s: %+v", info.Name, info.Config)
			}
		}
		if err := consumers.Err(); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEnsureTwiceAndAtOnce(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	log, out := lines()
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			return streams.Ensure(t.Context(), js, nil, streams.Options{}, slog.New(slog.DiscardHandler))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("four at once: %v", err)
	}
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, log); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("the second time logs:\n%s", out)
	}
}

// differ makes a server whose streams an operator has set otherwise.
func differ(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := jetStream(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "EVENTS", Subjects: []string{"events.>"}, MaxAge: time.Hour, MaxMsgs: 77, Description: "ours",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "COMMANDS", Subjects: []string{"commands.>"}, MaxAge: 24 * time.Hour, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateConsumer(t.Context(), "COMMANDS", jetstream.ConsumerConfig{
		Durable: "command-worker", AckPolicy: jetstream.AckAllPolicy, AckWait: time.Second, MaxDeliver: 5, MaxAckPending: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestEnsureLogsDifferencesAndLeavesThem(t *testing.T) {
	t.Parallel()
	js := differ(t)
	log, out := lines()
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, log); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`stream=COMMANDS consumer="" setting=retention is=limits wanted=workqueue`,
		`stream=COMMANDS consumer="" setting=discard is=old wanted=new hint="it can be changed once retention is, `,
		`stream=COMMANDS consumer="" setting=storage is=memory wanted=file`,
		`stream=COMMANDS consumer=command-worker setting=filter is=everything wanted=commands.>`,
		`stream=COMMANDS consumer=command-worker setting=ack_policy is=AckAll wanted=AckExplicit`,
		`stream=COMMANDS consumer=command-worker setting=ack_wait is=1s wanted=30s`,
		`stream=COMMANDS consumer=command-worker setting=max_deliver is=5 wanted=unlimited`,
		`stream=EVENTS consumer="" setting=max_age is=1h0m0s wanted=5m0s`,
		"provision --apply",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not logged: %s", want)
		}
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxAge; got != time.Hour {
		t.Errorf("max age became %s: Ensure must not change what exists", got)
	}
	if _, err := s.Consumer(t.Context(), "event-worker"); err != nil {
		t.Errorf("the missing consumer of an existing stream: %v", err)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestPlanAndApply(t *testing.T) {
	t.Parallel()
	js := differ(t)
	wantPlan := []string{
		"stream COMMANDS: retention is limits, wanted workqueue",
		"stream COMMANDS: discard is old, wanted new",
		"stream COMMANDS: max_bytes is unlimited, wanted 4294967296",
		"stream COMMANDS: storage is memory, wanted file",
		"consumer COMMANDS/command-worker: filter is everything, wanted commands.>",
		"consumer COMMANDS/command-worker: ack_policy is AckAll, wanted AckExplicit",
		"consumer COMMANDS/command-worker: ack_wait is 1s, wanted 30s",
		"consumer COMMANDS/command-worker: max_deliver is 5, wanted unlimited",
		"stream EVENTS: max_age is 1h0m0s, wanted 5m0s",
		"stream EVENTS: max_bytes is unlimited, wanted 1073741824",
		"create consumer EVENTS/event-worker",
		"create stream ELIGIBILITY",
		"create consumer ELIGIBILITY/eligibility-worker",
		"create consumer ELIGIBILITY/sync-worker",
		"create stream INTERNAL",
		"create stream DEADLETTER",
		"create stream RETRY",
		"create consumer RETRY/retry-worker",
		"create stream OVERFLOW",
		"create consumer OVERFLOW/parked-worker",
		"create stream ANSWERS",
		"create consumer ANSWERS/answer-worker",
	}
	if diff := cmp.Diff(wantPlan, plan(t, js, streams.Options{})); diff != "" {
		t.Fatalf("plan (-want +got)\n%s", diff)
	}
	changes, err := streams.Plan(t.Context(), js, streams.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = streams.Apply(t.Context(), js, nil, changes)
	if err == nil {
		t.Fatal("Apply: no error though JetStream cannot change retention, storage and ack policy")
	}
	for _, want := range []string{
		"stream COMMANDS: retention is", "stream COMMANDS: discard is", "stream COMMANDS: storage is", "ack_policy is",
		"says how to make COMMANDS again without losing messages", "nats consumer rm COMMANDS command-worker",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	wantLeft := []string{wantPlan[0], wantPlan[1], wantPlan[3], wantPlan[5]}
	if diff := cmp.Diff(wantLeft, plan(t, js, streams.Options{})); diff != "" {
		t.Errorf("left after Apply (-want +got)\n%s", diff)
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxMsgs != 77 || c.Description != "ours" {
		t.Errorf("Apply changed settings of the operator's own: %+v", c)
	}
}

func TestPlanSeesPushConsumer(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), "EVENTS", "event-worker"); err != nil {
		t.Fatal(err)
	}
	_, err := js.CreatePushConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{
		Durable: "event-worker", DeliverSubject: "elsewhere", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"consumer EVENTS/event-worker: delivery is push, wanted pull"}
	if diff := cmp.Diff(want, plan(t, js, streams.Options{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	changes, err := streams.Plan(t.Context(), js, streams.Options{MaxAckPending: 500})
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 7 {
		t.Errorf("%d changes, want max_ack_pending of seven consumers", len(changes))
	}
	if err := streams.Apply(t.Context(), js, nil, changes); err != nil {
		t.Error(err)
	}
	if left := plan(t, js, streams.Options{MaxAckPending: 500}); left != nil {
		t.Errorf("left after Apply: %q", left)
	}
	for _, p := range plan(t, js, streams.Options{MaxAckPending: 500, Storage: jetstream.MemoryStorage, Replicas: 3}) {
		if !strings.Contains(p, "storage is file, wanted memory") && !strings.Contains(p, "replicas is 1, wanted 3") {
			t.Errorf("unexpected: %s", p)
		}
		if strings.Contains(p, "INTERNAL: storage") {
			t.Errorf("INTERNAL must stay in memory: %s", p)
		}
	}
}

func TestEnsureEndsWithItsContext(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := streams.Ensure(ctx, js, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error though ctx has ended")
	}
}

// An answer that never comes costs the time of one request, not all that the caller has.
func TestEnsureGivesUpAnAnswerThatIsLost(t *testing.T) {
	t.Parallel()
	proxy := testserver.Proxy(t, strings.TrimPrefix(testserver.NATS(t).URL(), "nats://"))
	js := testserver.JetStream(t, testserver.ConnectNATS(t, "nats://"+proxy.Addr()))
	log, _ := lines()
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, log); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), testserver.Patience)
	defer cancel()
	err := streams.Ensure(ctx, js, nil, streams.Options{}, log)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, streams.ErrNoConsumer) || ctx.Err() != nil {
		t.Errorf("%v; the caller's time: %v", err, ctx.Err())
	}
	proxy.Resume()
	if err := streams.Ensure(ctx, js, nil, streams.Options{}, log); err != nil {
		t.Errorf("asked again: %v", err)
	}
}
