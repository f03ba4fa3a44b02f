package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
)

// load publishes messages, each until it is acknowledged: at an even pace, and in bursts.
type load struct {
	seed    uint64
	total   int
	js      jetstream.JetStream
	ingress func() string // the base URL of an ingress
	token   string
	ledger  *audit.Ledger
	quota   func() int // how many messages may be published by now

	next    atomic.Int64
	refused atomic.Int64 // publishes that a full stream has refused
	retried atomic.Int64 // publishes that were repeated for any other reason

	mu       sync.Mutex // protects messages
	messages []*message // all that are or will be published
}

const (
	publishers     = 24
	publishTimeout = 2 * time.Second
	requestTimeout = time.Minute // longer than the ingress lets a request wait
)

// run publishes all messages but bursts. It returns when all are acknowledged, or ctx ends.
func (l *load) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range publishers {
		g.Go(func() error {
			for {
				i := int(l.next.Add(1) - 1)
				if i >= l.total {
					return nil
				}
				for l.quota() <= i {
					if err := program.Pause(ctx, 5*time.Millisecond); err != nil {
						return err
					}
				}
				m := newMessage(l.seed, i, l.total)
				l.add(m)
				if err := l.publish(ctx, m); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// add adds a message that will be published.
func (l *load) add(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, m)
}

// publish publishes one message until it is acknowledged.
func (l *load) publish(ctx context.Context, m *message) error {
	l.ledger.Publish(m.Message)
	send := l.send
	if m.viaHTTP {
		send = l.post
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := send(ctx, m)
		if err == nil {
			l.ledger.Acknowledge(m.ID)
			return nil
		}
		var never permanentError
		if errors.As(err, &never) {
			return fmt.Errorf("message %s: %w", m.ID, err)
		}
		if full(err) {
			l.refused.Add(1)
		} else {
			l.retried.Add(1)
		}
		if err := program.Pause(ctx, wait); err != nil {
			return err
		}
	}
}

// permanentError is an answer that no message of the load may get.
type permanentError string

func (e permanentError) Error() string { return string(e) }

// full reports whether a stream was full.
func full(err error) bool {
	const streamStoreFailed = 10077 // the error code of JetStream for what it cannot store, for a full stream as well
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == streamStoreFailed
}

// send publishes over NATS.
func (l *load) send(ctx context.Context, m *message) error {
	msg := nats.NewMsg(m.subject)
	msg.Data = m.body
	msg.Header.Set(jetstream.MsgIDHeader, m.ID)
	msg.Header.Set(idHeader, m.ID)
	if m.Replies {
		msg.Header.Set("Arrakis-Reply-To", inboxPrefix+m.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := l.js.PublishMsg(ctx, msg)
	return err
}

// idHeader keeps the event ID with a message whose body cannot be read.
const idHeader = "Faults-Id"

// inboxPrefix is the prefix of the inboxes of the load, behind which the event ID follows.
const inboxPrefix = "_INBOX.faults."

// post publishes over HTTP. A nil error means that the message is stored, and usually that its outcome is here.
func (l *load) post(ctx context.Context, m *message) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.ingress()+m.path, bytes.NewReader(m.body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	req.Header.Set("Content-Type", "application/json")
	if m.async {
		req.Header.Set("Prefer", "respond-async")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	switch code := resp.StatusCode; code {
	case http.StatusOK:
		l.ledger.Tell(m.ID, "ok", 0)
	case http.StatusTooManyRequests:
		l.ledger.Tell(m.ID, "rate_limited", code)
	case http.StatusGone:
		l.ledger.Tell(m.ID, "expired", code)
	case http.StatusForbidden, http.StatusBadGateway: // the code with which the handler refuses; it failed
		l.ledger.Tell(m.ID, "error", code)
	case http.StatusAccepted, http.StatusGatewayTimeout: // stored
	case http.StatusServiceUnavailable, http.StatusConflict:
		return fmt.Errorf("%s: %s", resp.Status, text)
	default:
		if code < 500 {
			return permanentError(fmt.Sprintf("the ingress answers %s: %s", resp.Status, text))
		}
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}

// outcome is what is read of an outcome.
type outcome struct {
	EventID string `json:"event_id"`
	Status  string `json:"status"`
	Error   struct {
		Code int `json:"code"`
	} `json:"error"`
}

// parseOutcome reads an outcome, and reports whether it is one.
func parseOutcome(data []byte) (o outcome, ok bool) {
	// Headers come first, if there are any.
	at := bytes.Index(data, []byte(`{"event_id"`))
	if at < 0 {
		return o, false
	}
	err := json.Unmarshal(data[at:], &o)
	return o, err == nil && o.Status != ""
}
