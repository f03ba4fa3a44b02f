package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"arrakis/pipeline/contract"
)

// settlement is what JetStream is told of a message at its end.
type settlement uint8

const (
	undecided settlement = iota // the message is still on its way
	ack                         // it is done with
	nak                         // it is to be delivered again, after a delay
	term                        // it is never delivered again: its dead letter is stored
)

// disposition is how a message ends. The zero value says that it has not ended.
type disposition struct {
	settlement
	delay     time.Duration   // of a nak
	reason    contract.Reason // of a dead letter
	status    contract.Status // what the sender and the metrics are told
	failure   *contract.Error // for the sender; nil if all went well
	errorType errorType       // for the metrics; errorNone if all went well
	cause     string          // for the dead letter and the log
}

// decided reports whether the message has a disposition.
func (d *disposition) decided() bool { return d.settlement != undecided }

// errorType is a value of the label error_type of arrakis_tenant_errors_total.
type errorType uint8

const (
	errorNone errorType = iota
	errorMalformed
	errorHandler
	errorTimeout
	errorNoHandler
	errorPanic
	errorUnavailable
	errorExpired
	numErrorTypes = iota
)

var errorNames = [numErrorTypes]string{
	"none", "malformed", "handler_error", "timeout", "no_handler", "panic", "limits_unavailable", "expired",
}

// String returns the label value.
func (e errorType) String() string { return errorNames[e] }

// panicError is a handler's panic. The stack is for the log; the caller is not
// shown it.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return "the handler panicked" }

// handled makes a disposition of what a handler returned. It is the one place
// where a handler's error becomes an ack, a nak or a dead letter. attempt counts
// from 1.
func handled(err error, attempt, maxAttempts int) disposition {
	if err == nil {
		return disposition{settlement: ack, status: contract.StatusOK}
	}
	d := disposition{
		settlement: nak, status: contract.StatusError, cause: err.Error(), errorType: errorHandler,
		failure: &contract.Error{Code: http.StatusInternalServerError, Message: "the handler failed"},
	}
	var (
		panicked *panicError
		handler  *HandlerError
	)
	switch {
	case errors.As(err, &panicked):
		d.failure.Message = panicked.Error()
		d.settlement, d.reason, d.errorType = term, contract.ReasonPanic, errorPanic
		return d
	case errors.As(err, &handler):
		d.failure = &contract.Error{Code: handler.Code, Message: handler.Message}
		if handler.Code >= 400 && handler.Code <= 499 {
			d.settlement, d.reason = term, contract.ReasonHandlerError
			return d
		}
		if handler.Code == http.StatusServiceUnavailable {
			d.failure.Code = http.StatusBadGateway // 503 says one thing only: limits cannot be checked
		}
	case errors.Is(err, errNoHandler):
		d.failure = &contract.Error{Code: http.StatusBadGateway, Message: "no handler answers"}
		d.errorType = errorNoHandler
	case errors.Is(err, context.DeadlineExceeded):
		d.failure = &contract.Error{Code: http.StatusGatewayTimeout, Message: "the handler took too long"}
		d.errorType = errorTimeout
	}
	if attempt >= maxAttempts {
		d.settlement, d.reason = term, contract.ReasonAttemptsExhausted
		return d
	}
	d.delay = backoff(attempt)
	return d
}

// malformed is the disposition of a message that cannot be decoded.
func malformed(err *contract.DecodeError) disposition {
	return disposition{
		settlement: term, reason: err.Reason, status: contract.StatusError, errorType: errorMalformed,
		cause: err.Error(), failure: &contract.Error{Code: http.StatusBadRequest, Message: err.Error()},
	}
}

// expired is the disposition of a command that is too old to be of use.
func expired() disposition {
	return disposition{
		settlement: ack, status: contract.StatusExpired, errorType: errorExpired,
		failure: &contract.Error{Code: http.StatusGone, Message: "the command waited longer than its time to live"},
	}
}

// rejected is the disposition of a message that was not admitted: because it is
// over its limit, or, if unavailable, because Redis is away under the policy
// closed. A message that nobody waits for is then kept for later rather than
// lost.
func rejected(unavailable bool, replyTo func() string, retryAfter time.Duration) disposition {
	if !unavailable {
		return disposition{settlement: ack, status: contract.StatusRateLimited, failure: overLimit}
	}
	d := disposition{
		settlement: ack, status: contract.StatusError, errorType: errorUnavailable,
		failure: &contract.Error{Code: http.StatusServiceUnavailable, Message: "Limits cannot be checked now."},
	}
	if replyTo() == "" {
		d.settlement, d.delay = nak, max(retryAfter, unavailableDelay)
	}
	return d
}

var overLimit = &contract.Error{Code: http.StatusTooManyRequests, Message: "the limit is used up"}

// aborted is the disposition of a message that the shutdown did not leave time
// for: another process gets it.
func aborted() disposition { return disposition{settlement: nak} }

const (
	firstDelay       = time.Second      // before the second attempt
	longestDelay     = 30 * time.Second // before any
	unavailableDelay = 5 * time.Second  // before a message is shown again to a limiter that has no Redis
)

// backoff is the delay after an attempt, which counts from 1: doubling from
// firstDelay up to longestDelay, up to a fifth less, so that what failed
// together does not come back together.
func backoff(attempt int) time.Duration {
	d := longestDelay
	if shift := attempt - 1; shift < 5 {
		d = min(longestDelay, firstDelay<<max(shift, 0))
	}
	return d - rand.N(d/5) //nolint:gosec // jitter
}
