package replies

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

// patient is a deadline that no test waits for.
func patient() time.Time { return time.Now().Add(time.Minute) }

// connect makes a connection that comes back fast.
func connect(tb testing.TB, url string) *nats.Conn {
	tb.Helper()
	return testserver.ConnectNATS(tb, url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
}

// start makes a Mux and runs it until the test or stop ends it.
func start(tb testing.TB, nc *nats.Conn, limit int) (m *Mux, stop func()) {
	tb.Helper()
	m, err := New(nc, Bounds{InFlight: limit})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { m.Run(ctx) })
	stop = func() { cancel(); run.Wait() }
	tb.Cleanup(stop)
	return m, stop
}

// serve answers requests at subject from a connection of its own.
func serve(tb testing.TB, url, subject string, f func(*nats.Msg)) {
	tb.Helper()
	nc := connect(tb, url)
	if _, err := nc.Subscribe(subject, f); err != nil {
		tb.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		tb.Fatal(err)
	}
}

func echo(m *nats.Msg) { _ = m.Respond(m.Data) }

// ending is how a request ended.
type ending struct {
	data string
	err  error
}

// send sends a request; its ending arrives on the channel, which has room for more than the one that is promised.
func send(tb testing.TB, m *Mux, subject, data string, deadline time.Time) <-chan ending {
	tb.Helper()
	ended := make(chan ending, 4)
	err := m.Send(tb.Context(), &nats.Msg{Subject: subject, Data: []byte(data)}, deadline, func(reply *nats.Msg, err error) {
		e := ending{err: err}
		if reply != nil {
			e.data = string(reply.Data)
		}
		ended <- e
	})
	if err != nil {
		tb.Fatal(err)
	}
	return ended
}

// want waits for a request's end.
func want(tb testing.TB, what string, ended <-chan ending, want ending) {
	tb.Helper()
	select {
	case got := <-ended:
		if got.data != want.data || !errors.Is(got.err, want.err) {
			tb.Errorf("%s: ended with %+v, want %+v", what, got, want)
		}
	case <-time.After(testserver.Patience):
		tb.Fatalf("%s: it has not ended", what)
	}
}

// held are the requests that a service got and has not answered.
func held(tb testing.TB, url, subject string) <-chan *nats.Msg {
	tb.Helper()
	got := make(chan *nats.Msg, 16)
	serve(tb, url, subject, func(m *nats.Msg) { got <- m })
	return got
}

func TestRequestsGetTheirReplies(t *testing.T) {
	server := testserver.NATS(t)
	serve(t, server.URL(), "echo", echo)
	m, _ := start(t, connect(t, server.URL()), 64)
	var requests sync.WaitGroup
	for sender := range 8 {
		requests.Go(func() {
			for i := range 500 {
				text := strconv.Itoa(1_000*sender + i)
				requests.Add(1)
				err := m.Send(t.Context(), &nats.Msg{Subject: "echo", Data: []byte(text)}, patient(), func(reply *nats.Msg, err error) {
					defer requests.Done()
					if err != nil || string(reply.Data) != text {
						t.Errorf("request %s: reply %v, error %v", text, reply, err)
					}
				})
				if err != nil {
					t.Error(err)
					requests.Done()
				}
			}
		})
	}
	requests.Wait()
	if n := len(m.slots); n > 64 {
		t.Errorf("the table has %d places, want at most 64", n)
	}
}

func TestNobodyListens(t *testing.T) {
	m, _ := start(t, connect(t, testserver.NATS(t).URL()), 1)
	want(t, "request", send(t, m, "nobody", "", patient()), ending{err: nats.ErrNoResponders})
}

// A reply that comes too late must not become the reply of the next request, which has the same place.
func TestLateReplyIsDropped(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow")
	m, _ := start(t, connect(t, server.URL()), 1)
	want(t, "late request", send(t, m, "slow", "first", time.Now()), ending{err: nats.ErrTimeout})
	second := send(t, m, "slow", "second", patient())
	for range 2 {
		echo(<-requests)
	}
	want(t, "next request", second, ending{data: "second"})
}

func TestSecondReplyIsDropped(t *testing.T) {
	server := testserver.NATS(t)
	serve(t, server.URL(), "twice", func(m *nats.Msg) { echo(m); echo(m) })
	m, _ := start(t, connect(t, server.URL()), 1)
	for i := range 100 {
		text := strconv.Itoa(i)
		want(t, "request "+text, send(t, m, "twice", text, patient()), ending{data: text})
	}
}

// Whoever may publish under the inbox must not disturb requests.
func TestStrangeRepliesAreDropped(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow")
	nc := connect(t, server.URL())
	m, _ := start(t, nc, 4)
	ended := send(t, m, "slow", "good", patient())
	request := <-requests
	for _, token := range []string{"-1", "_", "1", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "1z141z4", "3w5e11264sgsf"} {
		if err := nc.Publish(m.prefix+token, []byte("bad")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	echo(request)
	want(t, "request", ended, ending{data: "good"})
}

func TestInFlightIsBounded(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow")
	m, _ := start(t, connect(t, server.URL()), 2)
	first, second := send(t, m, "slow", "1", patient()), send(t, m, "slow", "2", patient())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(*nats.Msg, error) { t.Error("done was called for a request that was not sent") }
	if err := m.Send(ctx, nats.NewMsg("slow"), patient(), never); !errors.Is(err, context.Canceled) {
		t.Errorf("a third request without a place: error %v, want that its context has ended", err)
	}
	third := make(chan ending, 1)
	var sender sync.WaitGroup
	sender.Go(func() {
		err := m.Send(t.Context(), &nats.Msg{Subject: "slow", Data: []byte("3")}, patient(), func(reply *nats.Msg, err error) {
			third <- ending{string(reply.Data), err}
		})
		if err != nil {
			t.Error(err)
		}
	})
	echo(<-requests)
	want(t, "first request", first, ending{data: "1"})
	sender.Wait() // it has got the place
	echo(<-requests)
	echo(<-requests)
	want(t, "second request", second, ending{data: "2"})
	want(t, "third request", third, ending{data: "3"})
}

func TestRunEndsRequests(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow")
	m, stop := start(t, connect(t, server.URL()), 1)
	ended := send(t, m, "slow", "1", patient())
	waits := make(chan error)
	go func() {
		waits <- m.Send(context.Background(), nats.NewMsg("slow"), patient(), func(*nats.Msg, error) {})
	}()
	<-requests
	stop()
	want(t, "request in flight", ended, ending{err: ErrClosed})
	if err := <-waits; !errors.Is(err, ErrClosed) {
		t.Errorf("the request that waited for a place: error %v, want ErrClosed", err)
	}
	if err := m.Send(t.Context(), nats.NewMsg("slow"), patient(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a further request: error %v, want ErrClosed", err)
	}
}

func TestClosedConnectionIsTold(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow")
	nc := connect(t, server.URL())
	m, _ := start(t, nc, 4)
	ended := send(t, m, "slow", "1", patient())
	<-requests
	nc.Close()
	want(t, "request in flight", ended, ending{err: nats.ErrConnectionClosed})
	err := m.Send(t.Context(), nats.NewMsg("slow"), patient(), func(*nats.Msg, error) {})
	if !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("a further request: error %v, want that the connection is closed", err)
	}
	if m, err := New(nc, Bounds{InFlight: 1}); err == nil {
		t.Errorf("New on a closed connection: %v, want an error", m)
	}
}

// A service may take longer than the connection needs to come back.
func TestReplyArrivesOverNewConnection(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow")
	proxy := testserver.Proxy(t, server.URL()[len("nats://"):])
	nc := connect(t, "nats://"+proxy.Addr())
	m, _ := start(t, nc, 4)
	ended := send(t, m, "slow", "patience", patient())
	request := <-requests
	proxy.Cut()
	testserver.Eventually(t, "the connection is back", func() bool { return nc.Stats().Reconnects == 1 && nc.Flush() == nil })
	echo(request)
	want(t, "request", ended, ending{data: "patience"})
}

// Replies, deadlines and the end of Run race with each other: each request ends once all the same.
func TestEachRequestEndsOnce(t *testing.T) {
	server := testserver.NATS(t)
	serve(t, server.URL(), "echo", echo)
	m, stop := start(t, connect(t, server.URL()), 32)
	var endings, sent atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for {
				err := m.Send(context.Background(), nats.NewMsg("echo"), time.Now(), func(*nats.Msg, error) { endings.Add(1) })
				if err != nil {
					return
				}
				sent.Add(1)
			}
		})
	}
	testserver.Eventually(t, "many requests", func() bool { return sent.Load() > 20_000 })
	stop()
	senders.Wait()
	if endings.Load() != sent.Load() {
		t.Errorf("%d requests have ended, %d were sent", endings.Load(), sent.Load())
	}
}

// Beside what the library allocates for a message, a request costs its reply subject.
func TestAllocations(t *testing.T) {
	m, _ := start(t, connect(t, testserver.NATS(t).URL()), 1)
	s := slot{deadline: patient(), done: func(*nats.Msg, error) {}}
	allocated := testing.AllocsPerRun(1_000, func() {
		place, generation, err := m.put(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if subject := m.subject(place, generation); subject == "" {
			t.Fatal("no subject")
		}
		m.take(place, generation)
	})
	if allocated > 1 {
		t.Errorf("%.0f allocations a request, want 1", allocated)
	}
}

// Replies that wait for their done are bounded in bytes. What is above that is lost, and its request ends all the same.
func TestRepliesAreBounded(t *testing.T) {
	server := testserver.NATS(t)
	const requests, size = 16, 1 << 10
	nc := testserver.ConnectNATS(t, server.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	m, err := New(nc, Bounds{InFlight: requests + 1, Bytes: 4 * size})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { m.Run(ctx) })
	stop := func() { cancel(); run.Wait() }
	t.Cleanup(stop)
	serve(t, server.URL(), "large", func(m *nats.Msg) { _ = m.Respond(make([]byte, size)) })

	busy, goOn := make(chan struct{}), make(chan struct{})
	err = m.Send(t.Context(), nats.NewMsg("large"), patient(), func(*nats.Msg, error) { close(busy); <-goOn })
	if err != nil {
		t.Fatal(err)
	}
	<-busy // what follows waits for its done
	before := nc.Stats().InMsgs
	var ends [requests]<-chan ending
	for i := range ends {
		ends[i] = send(t, m, "large", "", patient())
	}
	testserver.Eventually(t, "all replies have arrived", func() bool { return nc.Stats().InMsgs >= before+requests })
	close(goOn)
	testserver.Eventually(t, "those that there was room for have got to their done", func() bool {
		waiting, _, err := m.sub.Pending()
		return err == nil && waiting == 0
	})
	stop()
	var lost int
	for _, ended := range ends {
		if e := <-ended; errors.Is(e.err, ErrClosed) {
			lost++
		} else if len(e.data) != size {
			t.Errorf("ended with %+v", e)
		}
	}
	if lost < requests-5 || lost == requests {
		t.Errorf("%d of %d replies are lost, want all but 4 KiB", lost, requests)
	}
}
