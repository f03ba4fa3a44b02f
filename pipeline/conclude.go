package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"arrakis/pipeline/contract"
)

// disposition is what JetStream is told of a message at its end.
type disposition uint8

const (
	acknowledge disposition = iota // it is done with
	retry                          // deliver it again after a delay
	deadLetter                     // store it among the dead letters, then terminate it
)

// conclusion is how a message ends.
type conclusion struct {
	disposition disposition
	delay       time.Duration   // of a retry
	reason      contract.Reason // of a dead letter
	status      contract.Status // what the caller and the metrics are told
	fail        *contract.Error // for the caller; nil if all went well
	errorType   errorType       // for the metrics; errorNone if all went well
	cause       string          // for the dead letter and the log
}

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

// concludeHandled maps what a handler returned to how its message ends. It is
// the one place where errors become acks, retries and dead letters. attempt
// counts from 1.
func concludeHandled(err error, attempt, maxAttempts int) conclusion {
	if err == nil {
		return conclusion{status: contract.StatusOK}
	}
	c := conclusion{
		status: contract.StatusError, cause: err.Error(),
		disposition: retry, errorType: errorHandler,
		fail: &contract.Error{Code: http.StatusInternalServerError, Message: "the handler failed"},
	}
	var (
		panicked *panicError
		handler  *HandlerError
	)
	switch {
	case errors.As(err, &panicked):
		c.fail.Message = panicked.Error()
		c.disposition, c.reason, c.errorType = deadLetter, contract.ReasonPanic, errorPanic
		return c
	case errors.As(err, &handler):
		c.fail = &contract.Error{Code: handler.Code, Message: handler.Message}
		if handler.Code >= 400 && handler.Code <= 499 {
			c.disposition, c.reason = deadLetter, contract.ReasonHandlerError
			return c
		}
		if handler.Code == http.StatusServiceUnavailable {
			c.fail.Code = http.StatusBadGateway // 503 says one thing only: limits cannot be checked
		}
	case errors.Is(err, errNoHandler):
		c.fail = &contract.Error{Code: http.StatusBadGateway, Message: "no handler answers"}
		c.errorType = errorNoHandler
	case errors.Is(err, context.DeadlineExceeded):
		c.fail = &contract.Error{Code: http.StatusGatewayTimeout, Message: "the handler took too long"}
		c.errorType = errorTimeout
	}
	if attempt >= maxAttempts {
		c.disposition, c.reason = deadLetter, contract.ReasonAttemptsExhausted
		return c
	}
	c.delay = backoff(attempt)
	return c
}

// concludeMalformed ends a message that cannot be decoded.
func concludeMalformed(err *contract.DecodeError) conclusion {
	return conclusion{
		disposition: deadLetter, reason: err.Reason, status: contract.StatusError, errorType: errorMalformed,
		cause: err.Error(), fail: &contract.Error{Code: http.StatusBadRequest, Message: err.Error()},
	}
}

// concludeExpired ends a command that is too old to be of use.
func concludeExpired() conclusion {
	return conclusion{
		status: contract.StatusExpired, errorType: errorExpired,
		fail: &contract.Error{Code: http.StatusGone, Message: "the command waited longer than COMMAND_TTL"},
	}
}

// concludeRefused ends a message that the limiter did not admit. Where Redis
// is away under the policy closed, a message whose sender does not wait for an
// answer is kept for later rather than lost.
func concludeRefused(unavailable bool, replyTo func() string, after time.Duration) conclusion {
	if !unavailable {
		return conclusion{status: contract.StatusRateLimited, fail: overLimit}
	}
	c := conclusion{
		status: contract.StatusError, errorType: errorUnavailable,
		fail: &contract.Error{Code: http.StatusServiceUnavailable, Message: "Limits cannot be checked now."},
	}
	if replyTo() == "" {
		c.disposition, c.delay = retry, max(after, unavailableDelay)
	}
	return c
}

var overLimit = &contract.Error{Code: http.StatusTooManyRequests, Message: "the limit is used up"}

// concludeAborted gives a message back that the shutdown did not leave time for.
func concludeAborted() conclusion { return conclusion{disposition: retry} }

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
