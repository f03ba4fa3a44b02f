package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/redis/go-redis/v9"

	"arrakis/pipeline/streams"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// asArrakis is the variable that makes the test binary run as arrakis.
const asArrakis = "ARRAKIS_TEST_AS_ARRAKIS"

// longTests is whether the tests that take minutes run at full length.
func longTests() bool { return os.Getenv("ARRAKIS_LONG_TESTS") != "" }

// redisServer starts a real Redis for the test.
func redisServer(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for range 10 {
		port := strconv.Itoa(quietPort(t))
		cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // killed: the error says so
			close(ended)
		}()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
		rdb := redis.NewClient(&redis.Options{Addr: net.JoinHostPort("127.0.0.1", port)})
		t.Cleanup(func() { _ = rdb.Close() })
		if answers(t, rdb, cmd.Process.Pid, ended) {
			return rdb
		}
	}
	t.Fatal("redis-server does not start")
	return nil
}

// answers waits until the process answers, which another server on its port
// might do as well. It reports false if the process has ended, as it does when
// the port is taken.
func answers(t *testing.T, rdb *redis.Client, pid int, ended <-chan struct{}) (up bool) {
	t.Helper()
	own := fmt.Sprintf("\r\nprocess_id:%d\r\n", pid)
	eventually(t, "redis-server answers", func() bool {
		select {
		case <-ended:
			return true
		default:
			up = strings.Contains(rdb.Info(t.Context(), "server").Val(), own)
			return up
		}
	})
	return up
}

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

// admissions follows the log of a limit in Redis, which keeps one window.
type admissions struct {
	scores map[string][]int64 // unix ms by event ID
}

func (a *admissions) look(t *testing.T, rdb *redis.Client, key string) {
	t.Helper()
	entries, err := rdb.ZRangeWithScores(t.Context(), key, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		id, _ := e.Member.(string)
		if at := int64(e.Score); !slices.Contains(a.scores[id], at) {
			a.scores[id] = append(a.scores[id], at)
		}
	}
}

// TestInvariantExactOverProcesses (I1) floods one community at 50 times its
// limit, each message stored twice, through four worker processes of which one
// is killed every few seconds. By Redis's time of admission no window holds
// more than the limit, and as long as the flood lasts none holds less.
func TestInvariantExactOverProcesses(t *testing.T) {
	const (
		processes = 4
		limit     = 100 // pro
		window    = time.Minute
		key       = "ratelimit:flooded:command"
		perSecond = 50 * limit / 60
	)
	flood, killEvery := 15*time.Second, 3*time.Second
	if longTests() {
		flood = 200 * time.Second
	}
	ns := natsAt(t, -1)
	rdb := redisServer(t)
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	tenants := store.New(rdb, store.Options{Source: "test"})
	if _, _, err := tenants.UpgradeTier(t.Context(), "flooded", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	handled := handledBy(t, nc)

	workers := make([]*exec.Cmd, processes)
	for i := range workers {
		workers[i] = workerProcess(t, ns.ClientURL(), rdb.Options().Addr)
	}
	defer func() {
		for _, w := range workers {
			_ = w.Process.Kill()
			_ = w.Wait()
		}
	}()

	ctx, cancel := context.WithCancel(t.Context())
	var publisher sync.WaitGroup
	publisher.Go(func() { publishTwice(ctx, t, js, perSecond) })
	defer publisher.Wait()
	defer cancel()
	eventually(t, "a worker works", func() bool { return len(handled()) > 0 })
	time.AfterFunc(flood, cancel)
	admitted := &admissions{scores: map[string][]int64{}}
	kill := time.NewTicker(killEvery)
	defer kill.Stop()
	kills := 0
	for ctx.Err() == nil {
		select {
		case <-kill.C:
			i := rand.IntN(processes)
			_ = workers[i].Process.Kill() // SIGKILL
			_ = workers[i].Wait()
			workers[i] = workerProcess(t, ns.ClientURL(), rdb.Options().Addr)
			kills++
		case <-ctx.Done():
		}
		admitted.look(t, rdb, key)
	}
	publisher.Wait()
	done := handled() // before the last look: what is admitted later is not in it
	admitted.look(t, rdb, key)

	var times []int64
	for _, at := range admitted.scores {
		times = append(times, at...)
	}
	slices.Sort(times)
	t.Logf("%d admitted in %v with %d workers killed", len(times), flood, kills)
	if len(times) < limit {
		t.Fatalf("%d admitted, want the limit of %d", len(times), limit)
	}
	for i := limit; i < len(times); i++ {
		between := time.Duration(times[i]-times[i-limit]) * time.Millisecond
		if between < window {
			t.Errorf("admissions %d to %d are within %v: more than %d in a window", i-limit, i, between, limit)
		}
		if slack := 2 * killEvery; between > window+slack {
			t.Errorf("admissions %d to %d are %v apart: a permit lay idle for more than %v", i-limit, i, between, slack)
		}
	}
	if !longTests() && len(times) != limit {
		t.Errorf("%d admitted within one window, want %d", len(times), limit)
	}
	for id := range done {
		if _, ok := admitted.scores[id]; !ok {
			t.Errorf("%s was handled and never admitted", id)
		}
	}
}

// handledBy answers the command "work" as a micro service would, and returns
// what it has answered.
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

// publishTwice publishes perSecond commands a second until ctx ends, each of
// them twice.
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
				if _, err := js.PublishAsync("commands.interaction", body, jetstream.WithStallWait(time.Minute)); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		}
	}
}
