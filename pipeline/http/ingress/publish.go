package ingress

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/tracing"
)

const (
	// retrySoon is the Retry-After of failures that usually last a few seconds.
	retrySoon = 2 * time.Second
	// retryFull is the Retry-After while a stream is full. It lasts until workers have caught up.
	retryFull = 10 * time.Second
)

// errNoOutcome means that the message is stored but no outcome arrived in time.
var errNoOutcome = errors.New("no outcome yet")

// errRepeated means that the stream has a message with the same ID, whose outcome another request waits for.
var errRepeated = errors.New("the message is stored already")

// notStored is the error of a span whose message was not stored, or not confirmed.
const notStored = "not_stored"

// storeError means that a message was not stored, or that JetStream did not confirm it.
type storeError struct{ err error }

func (e *storeError) Error() string { return "store: " + e.err.Error() }

func (e *storeError) Unwrap() error { return e.err }

// publish stores m. If waits is true, it waits for the outcome and returns it. An error is a *storeError, errNoOutcome,
// errRepeated or ctx's.
func (in *Ingress) publish(ctx context.Context, m *message, waits bool) (*nats.Msg, error) {
	// Without a connection the NATS library would buffer the message and send it when the server is back, long after
	// the HTTP client has got a 503.
	if !in.options.NATS.IsConnected() {
		return nil, &storeError{nats.ErrDisconnected}
	}
	trace := in.options.Tracer.Publish(m.msg.Header, tracing.Publication{
		Destination: m.kind.Route().Filter(), EventID: m.envelope.EventID, Community: m.envelope.TenantKey,
		Trusted: in.options.TrustTraces || m.trusted,
	})
	way, err := in.enter(ctx, m)
	if err != nil {
		trace.End(time.Now(), notStored)
		return nil, err
	}
	way.trace = trace
	var token string
	var outcome <-chan *nats.Msg
	if waits {
		token, outcome = in.addWaiter()
		defer in.removeWaiter(token)
		m.setHeader(contract.HeaderReplyTo, in.inbox+"."+token)
		m.setHeader(contract.HeaderWait, strconv.FormatInt(m.senderWait.Milliseconds(), 10))
	}
	ack, err := in.js.PublishMsgAsync(m.msg)
	if err != nil {
		way.ended(notStored)
		way.end()
		return nil, &storeError{err}
	}
	reply, err := in.await(ctx, m, ack, outcome, way)
	way.ended(notStored) // unless it was stored, and so has ended
	way.endLater(in.options.StoreTimeout)
	if errors.Is(err, errNoOutcome) && m.mark != nil && in.keepLate(token, m, time.Now()) ||
		err != nil && waits && m.mark == nil && !in.removeWaiter(token) {
		reply, err = <-outcome, nil // it has arrived at this moment
	}
	stream := m.stream()
	if (err == nil || errors.Is(err, errNoOutcome)) && in.storing[stream].succeed(time.Now()) {
		in.log.Info("messages are stored again", "stream", stream)
	}
	return reply, err
}

// await waits for JetStream's ack of m and then, if outcome is not nil, for the outcome. An outcome before the ack proves
// that the message is stored. way is ended once the message is stored, or is not going to be.
func (in *Ingress) await(
	ctx context.Context, m *message, ack jetstream.PubAckFuture, outcome <-chan *nats.Msg, way *way,
) (*nats.Msg, error) {
	timer := time.NewTimer(m.wait)
	defer timer.Stop()
	acked, failed := ack.Ok(), ack.Err()
	late := func(why string) error {
		if acked == nil {
			return errNoOutcome
		}
		return &storeError{errors.New(why)}
	}
	for {
		select {
		case reply := <-outcome:
			way.end()
			return reply, nil
		case stored := <-acked:
			way.end()
			if outcome == nil {
				return nil, nil
			}
			if stored.Duplicate {
				return nil, errRepeated
			}
			acked, failed = nil, nil
		case err := <-failed:
			select {
			case reply := <-outcome: // the message is stored; only its ack is missing
				way.end()
				return reply, nil
			default:
				way.ended(notStored)
				way.end()
				return nil, &storeError{err}
			}
		case <-timer.C:
			return nil, late("no ack in time")
		case <-in.cutOff:
			return nil, late("shutting down before the ack")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// laneFull is the problem of a message that its community's lane has no room for. Senders do not all come back at once.
func laneFull() *problem.Problem {
	return streamFull("Too many messages of this community wait for their turn. Nothing was stored; repeat the request later.").
		RetryAfter(retryFull + rand.N(retryFull)) //nolint:gosec // jitter
}

func streamFull(detail string) *problem.Problem {
	return problem.New(http.StatusServiceUnavailable, "stream-full", "%s", detail).RetryAfter(retryFull)
}

// unanswered is the problem for an error of publish, or nil if the client is gone. It logs when messages begin to fail.
func (in *Ingress) unanswered(m *message, err error) *problem.Problem {
	var p *problem.Problem
	var failed *storeError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		p = body.TooLarge("The body is larger than the %d bytes that NATS accepts. %s", in.options.NATS.MaxPayload(), sendLess)
	case errors.Is(err, lanes.ErrFull): // of this community alone, which package lanes logs
		p = laneFull()
	case errors.As(err, &failed):
		if stream := m.stream(); in.storing[stream].fail(time.Now()) {
			in.log.Warn("messages are not stored", "stream", stream, "err", failed.err)
		}
		if streams.Full(failed.err) {
			if p = laneFull(); !m.lane {
				p = streamFull("The stream of these messages is full, so the message was refused. Nothing was stored; repeat the request later.")
			}
			break
		}
		detail := "NATS did not confirm that the message is stored. Repeat the request."
		if m.repeatable() {
			detail = "NATS did not confirm that the message is stored. Repeat the request with the same event ID: it is charged once."
		}
		p = problem.New(http.StatusServiceUnavailable, "not-stored", "%s", detail).RetryAfter(retrySoon)
	case errors.Is(err, errNoOutcome):
		detail := "Do not repeat the request, for it would run again. A request with an event_id of your own can be repeated."
		if m.repeatable() {
			detail = "Repeat the request later: it is answered 409 while the message is being handled, and then with the outcome."
		}
		p = problem.New(http.StatusGatewayTimeout, "no-outcome-yet",
			"The message is stored and will still be handled, but its outcome did not come in time. %s", detail)
	default:
		return nil
	}
	return forMessage(p, m.envelope)
}
