package ingress

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
)

// Why [Ingress.Submit] has no reply.
var (
	// ErrNotRunning means that the process is starting or shutting down. Nothing was stored.
	ErrNotRunning = errNotRunning
	// ErrBusy means that too many requests are in flight, of all communities or of this one. Nothing was stored.
	ErrBusy = errors.New("ingress: too many requests are in flight")
	// ErrFull means that the stream, or the community's part of its lane, is full. Nothing was stored.
	ErrFull = errors.New("ingress: the stream is full")
	// ErrNotStored means that JetStream did not confirm the message in time. It may still be stored.
	ErrNotStored = errors.New("ingress: the message is not confirmed")
	// ErrRepeated means that the stream has a message with the same MessageID.
	ErrRepeated = errRepeated
	// ErrNoReply means that the message is stored, and no reply came in time. When it comes, the worker is told that nobody
	// waits for it ([contract.TakenLate]).
	ErrNoReply = errNoOutcome
)

// Submission is a message that an HTTP handler of another package makes of a request.
type Submission struct {
	Kind     contract.Kind
	Envelope contract.Envelope // that of Body, as [contract.Decode] returns it
	Body     []byte
	Header   nats.Header // of the message; may be nil. Submit adds to it
	// MessageID is the ID by which the stream knows a message that it has: within its duplicate window, a further one with
	// the same ID is not stored.
	MessageID string
	// Wait is the longest time to wait for the message to be stored and for the reply.
	Wait time.Duration
	// SenderWait is for how long the message's sender waits, whether it is told by this request or in another way. A
	// message that fails is tried again within this time.
	SenderWait time.Duration
}

// Reply is what a worker answers to a [Submission].
type Reply struct {
	Data []byte
	tell func(taken string)
}

// Written tells the worker whether the client of the request has got the reply. If not, the worker sends it in another
// way. Call it once; a worker that hears nothing within a second takes it for a no.
func (r *Reply) Written(ok bool) {
	if ok {
		r.tell(contract.TakenInline)
	} else {
		r.tell(contract.TakenNot)
	}
}

// Submit stores a message, as a request of the ingress is stored: counted among those in flight, and in the lane of its
// community. Then it waits for the reply of a worker. The errors are those above, or ctx's.
func (in *Ingress) Submit(ctx context.Context, s *Submission) (*Reply, error) {
	if err := in.acquireSlot(); err != nil {
		return nil, submitError(err)
	}
	defer in.releaseSlot()
	if !in.acquireShare(s.Envelope.TenantKey) {
		return nil, ErrBusy
	}
	defer in.releaseShare(s.Envelope.TenantKey)
	m := &message{
		envelope: s.Envelope, kind: s.Kind, wait: s.Wait, senderWait: s.SenderWait,
		msg: &nats.Msg{Subject: s.Kind.Route().SubjectFor(&s.Envelope), Header: s.Header, Data: s.Body},
	}
	if m.msg.Header == nil {
		m.msg.Header = make(nats.Header, 4)
	}
	if s.MessageID != "" {
		m.setHeader(nats.MsgIdHdr, s.MessageID)
	}
	reply, err := in.publish(ctx, m, true)
	if err != nil {
		if !errors.Is(err, ErrRepeated) {
			_ = in.unanswered(m, err) // logs when messages begin to fail
		}
		return nil, submitError(err)
	}
	return &Reply{Data: reply.Data, tell: func(taken string) { in.tell(reply, taken) }}, nil
}

// submitError is the error above that err is.
func submitError(err error) error {
	var failed *storeError
	switch {
	case errors.Is(err, errBusy):
		return ErrBusy
	case errors.Is(err, lanes.ErrFull):
		return ErrFull
	case errors.As(err, &failed) && streams.Full(failed.err):
		return ErrFull
	case errors.As(err, &failed):
		return errors.Join(ErrNotStored, err)
	default:
		return err
	}
}

// tell answers a worker that asks what became of its reply. If the answer is lost, the worker takes it for a no.
func (in *Ingress) tell(m *nats.Msg, taken string) {
	if m.Reply == "" {
		return
	}
	if err := m.Respond([]byte(taken)); err != nil {
		in.log.Debug("a worker cannot be told what became of its reply", "err", err)
	}
}
