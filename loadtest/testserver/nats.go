package testserver

import (
	"bytes"
	"runtime"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSServer is a nats-server with JetStream in this process.
type NATSServer struct {
	tb      testing.TB
	options server.Options
	server  *server.Server
}

// NATS starts a nats-server with JetStream, and ends it when the test ends. Its streams may reserve 16 GiB of memory
// and 16 GiB on disk. Each change may alter the server's options, such as who may connect.
func NATS(tb testing.TB, changes ...func(*server.Options)) *NATSServer {
	tb.Helper()
	s := &NATSServer{tb: tb, options: natsOptions(tb)}
	for _, change := range changes {
		change(&s.options)
	}
	s.Start()
	tb.Cleanup(s.Stop)
	return s
}

func natsOptions(tb testing.TB) server.Options {
	tb.Helper()
	host, port := hostPort(tb, address(tb))
	return server.Options{
		Host: host, Port: port, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: tb.TempDir(), JetStreamMaxMemory: 16 << 30, JetStreamMaxStore: 16 << 30,
	}
}

// Start starts a stopped server again, at its address and with its streams on disk.
func (s *NATSServer) Start() {
	s.tb.Helper()
	s.start()
	s.awaitConnections()
}

func (s *NATSServer) start() {
	s.tb.Helper()
	options := s.options // a copy, because the server writes to its options
	var err error
	if s.server, err = server.NewServer(&options); err != nil {
		s.tb.Fatalf("start nats-server: %v", err)
	}
	s.server.Start()
}

func (s *NATSServer) awaitConnections() {
	s.tb.Helper()
	if !s.server.ReadyForConnections(Patience) {
		s.tb.Fatalf("nats-server is not ready within %v", Patience)
	}
}

// Stop ends the server and its connections, and waits for its end. It may be called again.
func (s *NATSServer) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// DisableJetStream ends JetStream. The server and its connections stay. Stop and Start bring JetStream back.
func (s *NATSServer) DisableJetStream() {
	s.tb.Helper()
	Eventually(s.tb, "the goroutines of JetStream's API have begun", apiHasBegun)
	if err := s.server.DisableJetStream(); err != nil {
		s.tb.Fatalf("disable JetStream: %v", err)
	}
}

// apiHasBegun reports whether each goroutine for requests to JetStream has come to where it waits for one. In nats-server
// 2.15.2 (jetstream_api.go, processJSAPIRoutedRequests), one that begins when JetStream is off panics at its first request.
func apiHasBegun() bool {
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for goroutine := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		state, frames, _ := bytes.Cut(goroutine, []byte("\n"))
		serves := bytes.Contains(frames, []byte(".processJSAPIRoutedRequests(")) && !bytes.Contains(state, []byte("[select"))
		if serves || bytes.HasPrefix(frames, []byte("github.com/nats-io/nats-server/v2/server.(*Server).startGoRoutine.")) {
			return false
		}
	}
	return true
}

// LoseMessages makes what clients publish on a subject vanish.
func (s *NATSServer) LoseMessages(subject string) {
	s.tb.Helper()
	if err := s.server.GlobalAccount().AddMapping(subject, "lost"); err != nil {
		s.tb.Fatalf("lose messages: %v", err)
	}
}

// URL is the URL for clients, without a name or a password: the server asks for none unless a change says so.
func (s *NATSServer) URL() string { return s.server.ClientURL() }

// Subscriptions is the number of subscriptions on the server, with those of JetStream.
func (s *NATSServer) Subscriptions() uint32 { return s.server.NumSubscriptions() }

// Connect makes a connection that ends with the test. The options must not have a closed handler, because Connect sets
// its own.
func (s *NATSServer) Connect(tb testing.TB, options ...nats.Option) *nats.Conn {
	tb.Helper()
	return ConnectNATS(tb, s.URL(), options...)
}

// ConnectNATS is Connect to a server that the test has started in another way.
func ConnectNATS(tb testing.TB, url string, options ...nats.Option) *nats.Conn {
	tb.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, append(slices.Clone(options), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))...)
	if err != nil {
		tb.Fatalf("connect to NATS: %v", err)
	}
	tb.Cleanup(func() { nc.Close(); <-closed }) // closed is closed when the connection's goroutines have ended
	return nc
}

// JetStream returns the JetStream of a connection. A question without a deadline has a sixth of Patience: a busy machine may
// take longer than the library's 5 s, and Eventually asks again when one is lost because a server restarts.
func JetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(Patience/6))
	if err != nil {
		tb.Fatal(err)
	}
	return js
}
