package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

var discard = slog.New(slog.DiscardHandler)

// What is published as a heartbeat is refused, or made harmless.
func TestHostileHeartbeats(t *testing.T) {
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `{"id":"w"}`, `{"id":"other","state":"ready"}`, `{"id":"w","state":"lost"}`, `{"id":"w","state":"<b>"}`,
		`{"id":"w","state":"ready","rates":{"in":1e999}}`, `{"id":"w","state":"ready","waiting":1e30}`, `{"id":"w","state":"ready","top":7}`,
		`{"id":"w","state":"ready","started":"yesterday"}`,
		`{"id":"w","state":"ready","host":"` + strings.Repeat("x", maxHeartbeat) + `"}`,
	} {
		if h, err := parse("internal.worker.w", []byte(body)); err == nil {
			t.Errorf("%.80s is taken: %+v", body, h)
		}
	}
	for _, id := range []string{"", "a b", "a.b", "*", ">", "é", strings.Repeat("x", 129)} {
		body, err := json.Marshal(Heartbeat{ID: id, State: Ready})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse("internal.worker."+id, body); err == nil {
			t.Errorf("the ID %q is taken", id)
		}
	}
	hostile := Heartbeat{
		ID: "w", State: Degraded, Host: "a\x1b[2J\n" + strings.Repeat("h", 5000), PID: -1, Uptime: -5, Shards: math.MaxInt,
		Faults:   slices.Repeat([]Fault{{Check: strings.Repeat("c", 200), Detail: strings.Repeat("d", 900)}}, 30),
		Activity: Activity{Rates: Rates{In: -1, Handled: 1e300}, Waiting: -7, Running: math.MaxInt},
	}
	for i := range 150 {
		hostile.Top = append(hostile.Top, Community{ID: fmt.Sprint("c", i), Tier: "<b>", Waiting: -1, Busy: 1e200}, Community{ID: "<b>"})
	}
	body, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parse("internal.worker.w", body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(h.Host, "\x1b\n") || len(h.Host) > maxText+4 || h.PID != 0 || h.Uptime != 0 || len(h.Faults) != maxFaults || len(h.Faults[0].Detail) > maxText+4 || len(h.Faults[0].Check) > maxWord+4 {
		t.Errorf("%+v", h)
	}
	if h.Rates.In != 0 || h.Rates.Handled != largest || h.Waiting != 0 || h.Running != largest || len(h.Top) != 2*MaxTop {
		t.Errorf("%+v", h.Activity)
	}
	for _, c := range h.Top {
		if c.Tier != "" || c.Waiting != 0 || c.Busy != largest || !strings.HasPrefix(c.ID, "c") {
			t.Fatalf("%+v", c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":"w","state":"ready","started":"2026-01-01T00:00:00Z","top":[{"community_id":"c","busy":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := parse("internal.worker.w", body)
		if err != nil {
			return
		}
		if len(h.Top) > 2*MaxTop || len(h.Faults) > maxFaults || h.ID != "w" || h.Waiting < 0 || !(h.Rates.In >= 0 && h.Rates.In <= largest) {
			t.Errorf("%+v", h)
		}
		if _, err := json.Marshal(h); err != nil {
			t.Error(err)
		}
	})
}

// A worker's own heartbeat, as large as it gets, is read; IDs are valid whatever the host is called.
func TestLargestHeartbeatIsRead(t *testing.T) {
	for _, host := range []string{"", "host", "a.b c/é", "---", strings.Repeat("x", 300)} {
		h := Heartbeat{ID: NewID(host), Host: strings.Repeat("h", 255), State: NotReady, Beat: math.MaxUint64, Started: time.Now(), Version: strings.Repeat("v", 300)}
		for range maxFaults {
			h.Faults = append(h.Faults, NewFault("consumers", "failed", strings.Repeat("<", 3000)))
		}
		for range 2 * MaxTop {
			h.Top = append(h.Top, Community{ID: strings.Repeat("c", 128), Tier: "enterprise", Waiting: 1e9, Running: 1e9, Busy: 1e9 / 3})
		}
		body, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(subject(h.ID), body)
		if err != nil || len(got.Top) != len(h.Top) || len(body) > maxHeartbeat {
			t.Errorf("host %q, %d bytes: %v", host, len(body), err)
		}
	}
}

// The table is a story of ages: what is old is lost, what is older is forgotten, and there is a bound.
func TestTable(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	states := func(table *table, now time.Time) string {
		var all []string
		workers, _ := table.all(now)
		for _, w := range workers {
			all = append(all, w.ID+" "+string(w.State))
		}
		return strings.Join(all, ", ")
	}
	table := newTable()
	table.put(&Heartbeat{ID: "a", Beat: 7, State: Ready}, 0, at(0))
	table.put(&Heartbeat{ID: "b", Beat: 1, State: Stopped}, 3*time.Second, at(0))
	table.put(&Heartbeat{ID: "a", Beat: 6, State: Starting}, 0, at(1)) // an earlier one that comes late
	for _, step := range []struct {
		at   float64
		want string
	}{
		{1, "a ready, b stopped"}, {7.9, "a ready, b stopped"}, {8, "a lost, b stopped"}, {56.9, "a lost, b stopped"}, {57, "a lost"}, {60, ""},
	} {
		if got := states(table, at(step.at)); got != step.want {
			t.Errorf("after %v s: %s, want %s", step.at, got, step.want)
		}
	}
	for i := range MaxWorkers {
		table.put(&Heartbeat{ID: fmt.Sprint("w", i), Beat: 1, State: Ready}, 0, at(100))
	}
	table.put(&Heartbeat{ID: "more", Beat: 1, State: Ready}, 0, at(101))
	if all, more := table.all(at(101)); len(all) != MaxWorkers || !more {
		t.Errorf("%d workers, more: %v", len(all), more)
	}
	table.put(&Heartbeat{ID: "w5", Beat: 2, State: Stopped}, 0, at(102)) // makes room
	table.put(&Heartbeat{ID: "more", Beat: 2, State: Ready}, 0, at(103))
	all, _ := table.all(at(103))
	if known := slices.ContainsFunc(all, func(w Worker) bool { return w.ID == "more" }); len(all) != MaxWorkers || !known {
		t.Errorf("%d workers, the new one among them: %v", len(all), known)
	}
	if _, more := table.all(at(120)); more {
		t.Error("it says that there are more, long after")
	}
}

// bed is a NATS server with the streams, and a Redis.
type bed struct {
	nats  *testserver.NATSServer
	js    jetstream.JetStream
	redis string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{nats: testserver.NATS(t, func(o *server.Options) { o.SyncInterval = time.Second }), redis: testserver.Miniredis(t).Addr()}
	b.js = testserver.JetStream(t, b.nats.Connect(t))
	b.ensure(t)
	return b
}

func (b *bed) ensure(t *testing.T) {
	t.Helper()
	testserver.Succeeds(t, "the streams are made", func() error {
		return streams.Ensure(t.Context(), b.js, nil, streams.Options{}, discard)
	})
}

func (b *bed) watcher(t *testing.T) *Watcher {
	t.Helper()
	rdb := testserver.ConnectRedis(t, b.redis)
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		t.Fatal(err)
	}
	return NewWatcher(WatcherOptions{JetStream: b.js, Redis: rdb, Health: health, Logger: discard})
}

// publish runs a publisher until stop, or until kill, which ends it without a last heartbeat.
func (b *bed) publish(t *testing.T, id string, missing func()) (stop, kill func()) {
	t.Helper()
	nc := b.nats.Connect(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	started := time.Now().Add(-30 * 24 * time.Hour) // a clock that is wrong
	go func() {
		defer close(done)
		Publish(ctx, PublisherOptions{
			JetStream: testserver.JetStream(t, nc), Missing: missing, Logger: discard,
			Beat: func(context.Context) *Heartbeat {
				return &Heartbeat{ID: id, Host: id, State: Ready, Started: started, Activity: Activity{Waiting: 1}}
			},
		})
	}()
	end := func() { cancel(); <-done }
	t.Cleanup(end)
	return end, func() { nc.Close(); end() }
}

// watch runs a watcher until the test ends. It returns the newest state.
func watch(t *testing.T, w *Watcher) func() *State {
	t.Helper()
	var last atomic.Pointer[State]
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, func(s *State) { last.Store(s) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	testserver.Eventually(t, "a first state", func() bool { return last.Load() != nil })
	return last.Load
}

func (s *State) is(id string, state Health) bool {
	return slices.ContainsFunc(s.Workers, func(w Worker) bool { return w.ID == id && w.State == state })
}

// Two workers are seen at once by who asks, and by who watches; one that stops says so, one that is killed is lost.
func TestWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	stop, _ := b.publish(t, "w1", func() {})
	_, kill := b.publish(t, "w2", func() {})
	state := watch(t, b.watcher(t))
	testserver.Eventually(t, "both are watched", func() bool { return state().is("w1", Ready) && state().is("w2", Ready) })
	testserver.Eventually(t, "INTERNAL keeps both", func() bool {
		s, err := b.watcher(t).Look(t.Context())
		return err == nil && s.is("w1", Ready) && s.is("w2", Ready)
	})
	stop()
	kill()
	testserver.Eventually(t, "one has stopped, the other is lost", func() bool { return state().is("w1", Stopped) && state().is("w2", Lost) })
	var s *State
	testserver.Succeeds(t, "who asks sees the same", func() (err error) {
		if s, err = b.watcher(t).Look(t.Context()); err == nil && (!s.is("w1", Stopped) || !s.is("w2", Lost)) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	if len(s.Faults) > 0 || len(s.Streams) < 5 || s.Streams[0].Stream != contract.StreamCommands {
		t.Errorf("%+v", s)
	}
}

// The oldest dead letter is a dead letter, and not the mark of a replay that stands in front of it.
func TestOldestDeadLetter(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	look := func() DeadLetters {
		t.Helper()
		s, err := b.watcher(t).Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.DeadLetters
	}
	if d := look(); d.Messages != 0 || d.Oldest != 0 {
		t.Errorf("without messages: %+v", d)
	}
	publish := func(subject string) time.Time {
		t.Helper()
		ack, err := b.js.Publish(t.Context(), subject, nil)
		if err != nil {
			t.Fatal(err)
		}
		letters, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
		if err != nil {
			t.Fatal(err)
		}
		m, err := letters.GetMsg(t.Context(), ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		return m.Time
	}
	marked := publish("deadletter.replay.17.1")
	if d := look(); d.Messages != 0 || d.Oldest != 0 {
		t.Errorf("with a mark: %+v", d)
	}
	testserver.Eventually(t, "the mark is older", func() bool { return time.Since(marked) > 50*time.Millisecond })
	stored := publish(contract.DeadLetterSubject(contract.StreamCommands, contract.ReasonMalformed))
	d := look()
	if passed := time.Since(stored); d.Messages != 1 || d.Oldest <= 0 || d.Oldest > passed {
		t.Errorf("%v after a dead letter, and %v after the mark: %+v", passed, time.Since(marked), d)
	}
}

// Workers that are gone keep those that work from being seen neither by who asks nor by who watches, however many of them
// INTERNAL remembers: after each process of a large fleet was replaced, most of the oldest heartbeats are of the stopped ones.
func TestManyWorkersHaveStopped(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	send := func(h Heartbeat) {
		t.Helper()
		body, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.js.PublishAsync(subject(h.ID), body); err != nil {
			t.Fatal(err)
		}
	}
	for i := range MaxWorkers + 100 {
		send(Heartbeat{ID: fmt.Sprint("old", i), Beat: 9, State: Stopped})
	}
	<-b.js.PublishAsyncComplete()
	beat := uint64(0)
	testserver.Succeeds(t, "who asks sees the one that works", func() error {
		beat++ // it goes on, so that it is not lost
		send(Heartbeat{ID: "new", Beat: beat, State: Ready})
		<-b.js.PublishAsyncComplete()
		s, err := b.watcher(t).Look(t.Context())
		if err == nil && (!s.is("new", Ready) || s.More) {
			err = fmt.Errorf("%d workers, more: %v", len(s.Workers), s.More)
		}
		return err
	})
	testserver.Succeeds(t, "too many work", func() error {
		beat++
		for i := range MaxWorkers + 100 {
			send(Heartbeat{ID: fmt.Sprint("also", i), Beat: beat, State: Ready})
		}
		<-b.js.PublishAsyncComplete()
		s, err := b.watcher(t).Look(t.Context())
		if err == nil && (len(s.Workers) != MaxWorkers || !s.More) {
			err = fmt.Errorf("%d workers, more: %v", len(s.Workers), s.More)
		}
		return err
	})
}

// A nats-server that restarts loses INTERNAL. Who watches goes on, workers ask for it to be made again, and keep their
// heartbeats there again.
func TestInternalIsLost(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var missing atomic.Int32
	b.publish(t, "w1", func() { missing.Add(1) })
	state := watch(t, b.watcher(t))
	testserver.Eventually(t, "it is watched", func() bool { return state().is("w1", Ready) })
	b.nats.Stop()
	testserver.Eventually(t, "who watches says that NATS is away", func() bool {
		return slices.ContainsFunc(state().Faults, func(f string) bool { return strings.Contains(f, "disconnected") })
	})
	b.nats.Start()
	restarted := time.Now()
	testserver.Eventually(t, "it is watched again, without INTERNAL", func() bool {
		s := state()
		return s.is("w1", Ready) && len(s.Faults) == 0 && s.At.After(restarted) && s.Workers[0].Age < Interval*2
	})
	testserver.Eventually(t, "the worker wants INTERNAL, though somebody listens", func() bool { return missing.Load() > 0 })
	if _, err := b.js.Stream(t.Context(), contract.StreamInternal); err == nil {
		t.Fatal("INTERNAL outlives its server: this test shows nothing")
	}
	testserver.Succeeds(t, "who asks listens", func() error {
		s, err := b.watcher(t).Look(t.Context())
		if err == nil && !s.is("w1", Ready) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	b.ensure(t)
	testserver.Eventually(t, "INTERNAL keeps its heartbeat", func() bool {
		last, err := streams.Read(t.Context(), b.js, contract.StreamInternal, 1, subject("w1"))
		return err == nil && len(last.Data) > 0
	})
}

// Where JetStream does not answer, who watches sees workers at once, and that streams are not known: the first state waits
// for neither what INTERNAL keeps nor the first look, which are asked for at the same time.
func TestFirstStateDoesNotWaitForJetStream(t *testing.T) {
	t.Parallel()
	b := &bed{nats: testserver.NATS(t, func(o *server.Options) { o.JetStream = false }), redis: testserver.Miniredis(t).Addr()}
	nc := b.nats.Connect(t)
	var looked atomic.Bool // what is kept has been asked for too, by then
	silent, err := nc.Subscribe("$JS.API.>", func(m *nats.Msg) {
		if !strings.HasSuffix(m.Subject, contract.StreamInternal) {
			looked.Store(true)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Unsubscribe() })
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	b.js = testserver.JetStream(t, b.nats.Connect(t))
	b.publish(t, "w1", func() {})
	ctx, cancel := context.WithCancel(t.Context())
	var first *State
	atOnce := false
	err = b.watcher(t).Run(ctx, func(s *State) {
		if first == nil && s.is("w1", Ready) {
			first, atOnce = s, looked.Load()
			cancel()
		}
	})
	if err != nil || first == nil {
		t.Fatal(err)
	}
	if len(first.Faults) != 1 || !strings.Contains(first.Faults[0], errNotYet.Error()) {
		t.Errorf("it waited for the end of the first look: %v", first.Faults)
	}
	if !atOnce {
		t.Error("the first look waits for what INTERNAL keeps")
	}
}

// Without the right to publish, a worker tries once a minute. A publish that failed before, on another subject, does not
// count: it stays the last error of the connection.
func TestRefusedPublish(t *testing.T) {
	t.Parallel()
	s := testserver.NATS(t, func(o *server.Options) {
		deny := func(name, subject string) *server.User {
			return &server.User{Username: name, Password: "pw", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{subject}}}}
		}
		o.Users = []*server.User{deny("worker", "forbidden.>"), deny("mute", subjectPrefix+">")}
	})
	for name, want := range map[string]bool{"worker": false, "mute": true} {
		nc := s.Connect(t, nats.UserInfo(name, "pw"))
		if err := nc.Publish("forbidden.x", nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Publish(subject("other"), nil); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(t, "the server refuses one", func() bool { return errors.Is(nc.LastError(), nats.ErrPermissionViolation) })
		p := newPublisher(PublisherOptions{JetStream: testserver.JetStream(t, nc), Missing: func() {}, Logger: discard})
		p.publish(t.Context(), &Heartbeat{ID: "w", State: Ready}) // it fails: there is no INTERNAL
		if p.failures != 1 || p.denied.IsZero() == want {
			t.Errorf("%s: %d failures, refused: %v, want %v", name, p.failures, !p.denied.IsZero(), want)
		}
	}
}
