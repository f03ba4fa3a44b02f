package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// services calls the NATS micro services at handlers.>, which may be written in any language.
type services struct {
	nc       *nats.Conn
	known    *names
	features func(*tenant.Tenant) []string
}

// request asks one of the services for name to handle the message. The body of the request is the body of the message.
func (s *services) request(ctx context.Context, d *delivery, name string) (any, error) {
	req := nats.NewMsg(contract.HandlerSubject(d.Kind, name))
	req.Data = d.Body
	set := func(header, value string) { req.Header[header] = []string{value} }
	set(contract.HeaderCommunity, d.Community)
	set(contract.HeaderTier, string(d.Tenant.Tier))
	set(contract.HeaderFeatures, strings.Join(s.features(d.Tenant), ","))
	set(contract.HeaderRequestID, d.requestID())
	set(contract.HeaderEventID, d.EventID)
	set(contract.HeaderAttempt, strconv.Itoa(d.Attempt))
	if deadline, ok := ctx.Deadline(); ok {
		set(contract.HeaderDeadline, strconv.FormatInt(deadline.UnixMilli(), 10))
	}
	if parent := d.header(contract.HeaderTraceParent); parent != "" {
		set(contract.HeaderTraceParent, parent)
	}
	reply, err := s.nc.RequestMsgWithContext(ctx, req)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, &noHandlerError{req.Subject}
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, tooLargeError{}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", req.Subject, err)
	}
	s.known.add(d.Kind, name)
	if err := serviceError(reply); err != nil {
		return nil, err
	}
	return replyResult(reply.Data)
}

// serviceError reads an error by the NATS micro convention.
func serviceError(reply *nats.Msg) error {
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
