package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/streams"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// asArrakis is the variable that makes the test binary run as arrakis.
const asArrakis = "ARRAKIS_TEST_AS_ARRAKIS"

// longTests is whether the tests that take minutes run at full length.
func longTests() bool { return os.Getenv("ARRAKIS_LONG_TESTS") != "" }

// workerProcess starts a worker as a process of its own.
func workerProcess(t *testing.T, natsURL, redisAddr string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "serve")
	cmd.Env = append(os.Environ(), asArrakis+"=1", "NATS_URL="+natsURL, "REDIS_URL=redis://"+redisAddr,
		"INGRESS_AUTH=none", "HTTP_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "LOG_LEVEL=error")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// What the flood of TestInvariantExactOverProcesses is held to.
const (
	floodLimit  = 100 // commands a window, of tier pro
	floodWindow = time.Minute
	floodKey    = "ratelimit:flooded:command"
	killEvery   = 3 * time.Second
)

// flood is one community's commands, worker processes that take them, and what Redis says of the admissions.
type flood struct {
	nats     *testserver.NATSServer
	js       jetstream.JetStream
	rdb      *redis.Client
	handled  func() map[string]int
	workers  []*exec.Cmd
	kills    int
	admitted map[string][]int64 // times by event ID, unix ms
}

// newFlood starts the servers and the workers.
func newFlood(t *testing.T, processes int) *flood {
	t.Helper()
	f := &flood{
		nats: testserver.NATS(t), rdb: testserver.Redis(t).Client(t),
		workers: make([]*exec.Cmd, processes), admitted: map[string][]int64{},
	}
	nc := f.nats.Connect(t)
	f.js = testserver.JetStream(t, nc)
	if err := streams.Ensure(t.Context(), f.js, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	tenants := store.New(f.rdb, store.Options{Source: "test"})
	if _, _, err := tenants.UpgradeTier(t.Context(), "flooded", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	f.handled = handledBy(t, nc)
	for i := range f.workers {
		f.workers[i] = workerProcess(t, f.nats.URL(), f.rdb.Options().Addr)
	}
	t.Cleanup(func() {
		for _, w := range f.workers {
			_ = w.Process.Kill()
			_ = w.Wait() // the error says "killed"
		}
	})
	return f
}

// replaceAny kills a worker and starts another in its place.
func (f *flood) replaceAny(t *testing.T) {
	t.Helper()
	i := rand.IntN(len(f.workers))
	_ = f.workers[i].Process.Kill() // SIGKILL
	_ = f.workers[i].Wait()
	f.workers[i] = workerProcess(t, f.nats.URL(), f.rdb.Options().Addr)
	f.kills++
}

// look reads the log of the limit in Redis, which keeps one window.
func (f *flood) look(t *testing.T) {
	t.Helper()
	entries, err := f.rdb.ZRangeWithScores(t.Context(), floodKey, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		id, _ := e.Member.(string)
		if at := int64(e.Score); !slices.Contains(f.admitted[id], at) {
			f.admitted[id] = append(f.admitted[id], at)
		}
	}
}

// watch looks at the log and replaces a worker every few seconds, until ctx ends.
func (f *flood) watch(ctx context.Context, t *testing.T) {
	t.Helper()
	kill := time.NewTicker(killEvery)
	defer kill.Stop()
	for ctx.Err() == nil {
		select {
		case <-kill.C:
			f.replaceAny(t)
		case <-ctx.Done():
		}
		f.look(t)
	}
}

// TestInvariantExactOverProcesses (I1) floods one community at 50 times its limit, each message stored twice, through
// four worker processes of which one is killed every few seconds. By Redis's time of admission no window holds more
// than the limit, and as long as the flood lasts none holds less.
func TestInvariantExactOverProcesses(t *testing.T) {
	lasts := 15 * time.Second
	if longTests() {
		lasts = 200 * time.Second
	}
	f := newFlood(t, 4)
	ctx, cancel := context.WithCancel(t.Context())
	var publisher sync.WaitGroup
	publisher.Go(func() { publishTwice(ctx, t, f.js, 50*floodLimit/60) })
	defer publisher.Wait()
	defer cancel()
	testserver.Eventually(t, "a worker works", func() bool { return len(f.handled()) > 0 })
	time.AfterFunc(lasts, cancel)
	f.watch(ctx, t)
	publisher.Wait()
	handled := f.handled() // before the last look: what is admitted later is not in it
	f.look(t)

	var times []int64
	for _, at := range f.admitted {
		times = append(times, at...)
	}
	slices.Sort(times)
	t.Logf("%d admitted in %v with %d workers killed", len(times), lasts, f.kills)
	wantFullWindows(t, times)
	if !longTests() && len(times) != floodLimit {
		t.Errorf("%d admitted within one window, want %d", len(times), floodLimit)
	}
	for id := range handled {
		if _, ok := f.admitted[id]; !ok {
			t.Errorf("%s was handled and never admitted", id)
		}
	}
}

// wantFullWindows checks the times of admissions, in order: no window holds more than the limit, and no permit lies
// idle for longer than two kills are apart.
func wantFullWindows(t *testing.T, times []int64) {
	t.Helper()
	if len(times) < floodLimit {
		t.Fatalf("%d admitted, want the limit of %d", len(times), floodLimit)
	}
	for i := floodLimit; i < len(times); i++ {
		between := time.Duration(times[i]-times[i-floodLimit]) * time.Millisecond
		if between < floodWindow {
			t.Errorf("admissions %d to %d are within %v: more than %d in a window", i-floodLimit, i, between, floodLimit)
		}
		if slack := 2 * killEvery; between > floodWindow+slack {
			t.Errorf("admissions %d to %d are %v apart: a permit lay idle for more than %v", i-floodLimit, i, between, slack)
		}
	}
}

// handledBy answers the command "work" as a micro service would, and returns what it has answered.
func handledBy(t *testing.T, nc *nats.Conn) func() map[string]int {
	t.Helper()
	var mu sync.Mutex
	handled := map[string]int{}
	service, err := micro.AddService(nc, micro.Config{Name: "work", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Stop() })
	err = service.AddEndpoint("work", micro.HandlerFunc(func(r micro.Request) {
		mu.Lock()
		handled[r.Headers().Get("Arrakis-Event-Id")]++
		mu.Unlock()
		_ = r.Respond(nil)
	}), micro.WithEndpointSubject("handlers.command.work"))
	if err != nil {
		t.Fatal(err)
	}
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(handled)
	}
}

// publishTwice publishes perSecond commands a second until ctx ends, each of them twice.
func publishTwice(ctx context.Context, t *testing.T, js jetstream.JetStream, perSecond int) {
	t.Helper()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			body := fmt.Appendf(nil, `{"event_id":"e%d","event_type":"interaction.create","guild_id":"flooded","data":{"command_name":"work"}}`, i)
			for range 2 {
				if _, err := js.PublishAsync("commands.interaction", body, jetstream.WithStallWait(testserver.Patience)); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		}
	}
}
