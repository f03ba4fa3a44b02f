package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/replies"
	"arrakis/pipeline/tracing"
	"arrakis/tenant"
)

// services calls the NATS micro services at handlers.>, which may be written in any language.
type services struct {
	nc       *nats.Conn
	known    *names
	features func(*tenant.Tenant) string // joined by commas
	replies  *replies.Mux                // set by subscribe
	requests sync.Pool                   // of *serviceRequest
}

const (
	// replyBytes bounds the replies that have arrived and wait for their turn, for each request in flight; minReplyBytes
	// is for all, at least: the largest message of NATS. Hardly ever does one wait. A reply above the bound is lost, so that
	// its handler seems to take too long: an attempt that has failed.
	replyBytes    = 256 << 10
	minReplyBytes = 64 << 20
)

// subscribe makes the services ready for that many requests in flight. The caller must run the replies.
func (s *services) subscribe(inFlight int) (err error) {
	s.replies, err = replies.New(s.nc, replies.Bounds{InFlight: inFlight, Bytes: max(minReplyBytes, inFlight*replyBytes)})
	return err
}

// send asks one of the services to handle the message. done gets what [replies.Mux.Send] says, for result, and
// must not do what that forbids. If send returns an error, done is not called.
func (s *services) send(ctx context.Context, d *delivery, deadline time.Time, done func(*nats.Msg, error)) error {
	r, ok := s.requests.Get().(*serviceRequest)
	if !ok {
		r = newServiceRequest()
	}
	defer s.requests.Put(r)
	r.msg.Subject, d.known = s.known.subject(d.Kind, d.Name(d.Kind))
	r.fill(d, s.features(d.Tenant), deadline)
	r.fillProgress(d.progress)
	if err := s.replies.Send(ctx, &r.msg, deadline, done); err != nil {
		return requestError(r.msg.Subject, err)
	}
	return nil
}

// answered makes the name of d known: a service has answered it.
func (s *services) answered(d *delivery) {
	if d.known == 0 { // a look at the name costs a look into the memory of the body
		s.known.add(d.Kind, d.Name(d.Kind))
	}
}

// result is what follows from what send's done got: the result of d, or an error.
func (s *services) result(d *delivery, reply *nats.Msg, err error) (json.RawMessage, error) {
	if err != nil {
		subject, _ := s.known.subject(d.Kind, d.Name(d.Kind))
		return nil, requestError(subject, err)
	}
	if err := serviceError(reply); err != nil {
		return nil, err
	}
	return replyResult(reply.Data)
}

// requestError is what an error of a request to a service at subject means.
func requestError(subject string, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return &noHandlerError{subject}
	case errors.Is(err, nats.ErrMaxPayload):
		return tooLargeError{}
	case errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%s: %w", subject, context.DeadlineExceeded)
	default:
		return fmt.Errorf("%s: %w", subject, err)
	}
}

// serviceError reads an error by the NATS micro convention.
func serviceError(reply *nats.Msg) error {
	if reply.Header == nil {
		return nil
	}
	text, code := reply.Header.Get(contract.HeaderServiceError), reply.Header.Get(contract.HeaderServiceErrorCode)
	if text == "" && code == "" {
		return nil
	}
	n, err := strconv.Atoi(code)
	if err != nil || n < 400 || n > 599 {
		n = 500
	}
	return &HandlerError{Code: n, Message: cmp.Or(text, "the handler failed")}
}

// serviceRequest is a message to a service, to be used again: its headers are made once, and only their values change.
type serviceRequest struct {
	interaction                                                                     bool // the last one was for an interaction
	msg                                                                             nats.Msg
	community, tier, features, requestID, eventID, attempt, deadline, parent, state []string // of one value each, in msg's headers
}

func newServiceRequest() *serviceRequest {
	r := &serviceRequest{msg: nats.Msg{Header: nats.Header{}}}
	for name, value := range map[string]*[]string{
		contract.HeaderCommunity: &r.community, contract.HeaderTier: &r.tier, contract.HeaderFeatures: &r.features,
		contract.HeaderRequestID: &r.requestID, contract.HeaderEventID: &r.eventID,
		contract.HeaderAttempt: &r.attempt, contract.HeaderDeadline: &r.deadline,
	} {
		*value = make([]string, 1)
		r.msg.Header[name] = *value
	}
	r.parent, r.state = make([]string, 1), make([]string, 1)
	return r
}

// fill makes r the request for d. The body of the request is the body of the message.
func (r *serviceRequest) fill(d *delivery, features string, deadline time.Time) {
	r.msg.Data = d.Body
	r.community[0] = d.Community
	r.tier[0] = string(d.Tenant.Tier)
	r.features[0] = features
	r.requestID[0] = d.requestID()
	r.eventID[0] = d.EventID
	r.attempt[0] = strconv.Itoa(d.Attempt)
	r.deadline[0] = strconv.FormatInt(deadline.UnixMilli(), 10)
	r.fillTrace(d)
}

// fillProgress says where the service may show its progress, if the message is an interaction.
func (r *serviceRequest) fillProgress(p *progress) {
	switch {
	case p != nil:
		r.msg.Header[contract.HeaderProgressTo] = []string{p.x.progress.add(p)}
	case r.interaction:
		delete(r.msg.Header, contract.HeaderProgressTo)
	}
	r.interaction = p != nil
}

// fillTrace sets the trace headers: those of the handler's span, or those of the message if it is not recorded.
func (r *serviceRequest) fillTrace(d *delivery) {
	parent, state, ok := d.trace.HandlerHeaders()
	if !ok {
		if parent = tracing.ParentOf(d.headers); parent != "" {
			state = tracing.StateOf(d.headers)
		}
	}
	for _, h := range [...]struct {
		name  string
		last  []string
		value string
	}{{contract.HeaderTraceParent, r.parent, parent}, {contract.HeaderTraceState, r.state, state}} {
		if h.last[0] == h.value {
			continue
		}
		if h.last[0] = h.value; h.value == "" {
			delete(r.msg.Header, h.name)
		} else {
			r.msg.Header[h.name] = h.last
		}
	}
}
