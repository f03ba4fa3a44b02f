package contender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/contract"
)

// commandsPath is where both servers take commands.
const commandsPath = "/v1/commands"

// serveHTTP serves s on a free port of the loopback interface. stop ends it.
func serveHTTP(s *http.Server) (addr string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var g errgroup.Group
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return l.Addr().String(), func() error { return errors.Join(s.Close(), g.Wait()) }, nil
}

// minimal answers a request with what its consumer makes of the message: no limits, no validation, no metrics.
type minimal struct {
	*env
	js      jetstream.JetStream
	inbox   string // subject of all replies, without its last token
	next    atomic.Int64
	waiting sync.Map // token to chan []byte, of size 1
}

func startMinimal(_ context.Context, e *env) (*running, error) {
	js, err := jetstream.New(e.nc)
	if err != nil {
		return nil, err
	}
	s := &minimal{env: e, js: js, inbox: e.nc.NewInbox()}
	if _, err := e.nc.Subscribe(s.inbox+".*", s.deliver); err != nil {
		return nil, err
	}
	consume, err := e.consumer.Consume(s.consume, jetstream.PullMaxMessages(pullBatch))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+commandsPath, s.serve)
	addr, stopHTTP, err := serveHTTP(&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second})
	if err != nil {
		consume.Stop()
		return nil, err
	}
	return &running{addr: addr, stop: func() error {
		consume.Drain()
		<-consume.Closed()
		return stopHTTP()
	}}, nil
}

// consume replies to one message, and acknowledges it.
func (s *minimal) consume(m jetstream.Msg) {
	err := s.nc.Publish(m.Headers().Get(contract.HeaderReplyTo), []byte(`{"status":"ok"}`))
	if err := errors.Join(err, m.Ack()); err != nil {
		s.log.Error("not answered", "err", err)
	}
}

func (s *minimal) deliver(m *nats.Msg) {
	if reply, ok := s.waiting.LoadAndDelete(m.Subject[len(s.inbox)+1:]); ok {
		reply.(chan []byte) <- m.Data //nolint:forcetypeassert // serve stores no other
	}
}

func (s *minimal) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	token, reply := strconv.FormatInt(s.next.Add(1), 10), make(chan []byte, 1)
	s.waiting.Store(token, reply)
	defer s.waiting.Delete(token)
	msg := nats.NewMsg(workload.Subject)
	msg.Data = body
	msg.Header.Set(contract.HeaderReplyTo, s.inbox+"."+token)
	if _, err := s.js.PublishMsgAsync(msg); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	select {
	case data := <-reply:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data) // a client that has gone is no concern
	case <-r.Context().Done():
	}
}
