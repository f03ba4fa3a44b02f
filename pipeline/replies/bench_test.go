package replies

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
)

// BenchmarkRequest is one request to an echo service and its reply, with 256 in flight: with a Mux, and with the
// library, which needs a goroutine for each. Both include the service and the server, which are in this process.
//
//	go test -run - -bench Request -benchtime 100000x ./pipeline/replies
func BenchmarkRequest(b *testing.B) {
	const inFlight = 256
	body := make([]byte, 420)
	b.Run("mux", func(b *testing.B) {
		server := testserver.NATS(b)
		serve(b, server.URL(), "echo", echo)
		m, _ := start(b, connect(b, server.URL()), inFlight)
		msg := &nats.Msg{Subject: "echo", Data: body}
		var requests sync.WaitGroup
		done := func(_ *nats.Msg, err error) {
			if err != nil {
				b.Error(err)
			}
			requests.Done()
		}
		deadline := patient()
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			requests.Add(1)
			if err := m.Send(context.Background(), msg, deadline, done); err != nil {
				b.Fatal(err)
			}
		}
		requests.Wait()
	})
	b.Run("library", func(b *testing.B) {
		server := testserver.NATS(b)
		serve(b, server.URL(), "echo", echo)
		nc := connect(b, server.URL())
		free := make(chan struct{}, inFlight)
		var requests sync.WaitGroup
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			free <- struct{}{}
			requests.Go(func() {
				defer func() { <-free }()
				if _, err := nc.RequestMsg(&nats.Msg{Subject: "echo", Data: body}, time.Minute); err != nil {
					b.Error(err)
				}
			})
		}
		requests.Wait()
	})
}
