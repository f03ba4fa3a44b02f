package worker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
)

func TestMain(m *testing.M) {
	if os.Getenv(asWorkerNATS) != "" {
		fmt.Fprintln(os.Stderr, runAsWorker()) // this test binary is a worker that a test has started as a process
		os.Exit(2)
	}
	testserver.WaitTogether()
	goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...)
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Options{Shards: 5000, HandlerConcurrency: -1, TenantCacheSize: -1, CommandTTL: -2, OverloadAge: -2})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"NATS", "Redis", "Shards", "HandlerConcurrency", "TenantCacheSize", "CommandTTL", "OverloadAge"} {
		if !strings.Contains(err.Error(), field+" is") {
			t.Errorf("%v: does not name %s", err, field)
		}
	}
}

func TestNewNamesFaultsOfDiscord(t *testing.T) {
	key := strings.Repeat("0a", 32)
	_, err := New(Options{Discord: DiscordOptions{
		PublicKeys: []string{key, "hunter2"}, ApplicationID: "hunter2", APIURL: "https://u:hunter2@proxy",
		Ephemeral: []string{"usage", "Usage"},
	}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"Discord.PublicKeys: public key 2 of Discord: expected 64 hexadecimal digits", "Discord.ApplicationID is not an ID", "Discord.APIURL: expected", `Discord.Ephemeral has "Usage"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error repeats what may be a secret: %v", err)
	}
	_, err = New(Options{Discord: DiscordOptions{PublicKeys: []string{key}, ApplicationID: "80351110224678912", Ephemeral: []string{"usage"}}})
	if err == nil || strings.Contains(err.Error(), "Discord") {
		t.Errorf("good options: %v", err)
	}
}

// Whoever waits for a worker that has ended is told, also without a deadline.
func TestAwaitReadyEndsWithRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// With JetStream, the server's end could meet the making of a stream, and leave goroutines behind.
	nats := testserver.NATS(t, func(o *server.Options) { o.JetStream = false })
	w, err := New(Options{
		NATS: nats.Connect(t), Redis: testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()), HTTP: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil {
		t.Error("Run on a closed listener: no error")
	}
	if err := w.AwaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("AwaitReady: %v", err)
	}
}

// newWorker makes a worker on servers of the test's own.
func newWorker(t *testing.T, o Options) *Worker {
	t.Helper()
	o.NATS, o.Redis = testserver.ConnectNATS(t, testserver.NATS(t).URL()), testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// runReady runs the worker until the test ends, and returns when it is ready.
func (w *Worker) runReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := w.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRunTwice(t *testing.T) {
	w := newWorker(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if err := w.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Errorf("the second Run: %v", err)
	}
	if err := w.Ready(); err != nil {
		t.Errorf("the first Run is disturbed: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the first Run: %v", err)
	}
}

// A closed connection never comes back: the process cannot go on.
func TestRunEndsWithItsConnection(t *testing.T) {
	w := newWorker(t, Options{})
	done := make(chan error, 1)
	go func() { done <- w.Run(t.Context()) }()
	if err := w.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.o.NATS.Close()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "connection is closed") {
		t.Errorf("Run: %v", err)
	}
}

// F9: without JetStream both addresses say so, though NATS is connected; liveness does not depend on it.
func TestF9BothAddressesSeeJetStream(t *testing.T) {
	t.Parallel()
	server := testserver.NATS(t)
	o := Options{
		NATS: server.Connect(t), Redis: testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()),
		HTTP: listen(t), Ops: listen(t),
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	await := func(want int, text string) {
		t.Helper()
		for _, l := range []net.Listener{o.HTTP, o.Ops} {
			testserver.Eventually(t, text, func() bool {
				code, body := get(t, l, "/readyz")
				return code == want && strings.Contains(body, text)
			})
			if code, body := get(t, l, "/healthz"); code != http.StatusOK {
				t.Errorf("/healthz: %d %s", code, body)
			}
		}
	}
	await(http.StatusOK, `"consumers":{"status":"ok"}`)
	server.DisableJetStream()
	await(http.StatusServiceUnavailable, "consumer command-worker of COMMANDS: JetStream does not answer")
	server.Stop()
	server.Start()
	await(http.StatusOK, `"consumers":{"status":"ok"}`)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// get returns the status and the body of a path on a listener's address. It keeps no connection, which would be a leak.
func get(t *testing.T, l net.Listener, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// F15: ShutdownTimeout is the whole of a shutdown, also with a handler that ignores its context and a request that
// waits for it.
func TestF15RunReturnsWithinShutdownTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 12 * time.Second // Run is expected to return after 9.6 s
	running, release := make(chan struct{}), make(chan struct{})
	handlers := pipeline.NewHandlers()
	handlers.Command("deaf", func(context.Context, *pipeline.Message) (any, error) {
		close(running)
		<-release
		return nil, nil
	})
	o := Options{HTTP: listen(t), Ops: listen(t), Handlers: handlers, ShutdownTimeout: timeout}
	w := newWorker(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if err := w.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	var client sync.WaitGroup
	client.Go(func() {
		resp, err := http.Post("http://"+o.HTTP.Addr().String()+"/v1/commands", "application/json",
			strings.NewReader(`{"guild_id":"c1","data":{"command_name":"deaf"}}`))
		if err != nil {
			t.Errorf("the waiting request: %v", err)
			return
		}
		resp.Body.Close() //nolint:errcheck // only read
		if resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("the waiting request: %s, want 504: it is stored", resp.Status)
		}
	})
	<-running
	late := time.NewTimer(timeout)
	cancel()
	err := <-done
	select {
	case <-late.C:
		t.Error("Run returned late")
	default:
	}
	if err == nil || !strings.Contains(err.Error(), "command deaf") {
		t.Errorf("Run: %v, want an error that names the handler", err)
	}
	client.Wait()
	close(release)
	http.DefaultClient.CloseIdleConnections()
}
