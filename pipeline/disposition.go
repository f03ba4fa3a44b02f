package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/attempts"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/discord"
)

// settlement is what arrakis tells JetStream at the end of a delivery.
type settlement uint8

const (
	undecided settlement = iota // the message is still on its way
	ack                         // the message is done
	nak                         // JetStream delivers the message again, after a delay
	carriedOn                   // the message is stored again: this delivery of it is done, its end is yet to come
	untold                      // JetStream is told nothing: it delivers the message again by itself
	term                        // JetStream never delivers the message again; its dead letter is stored
)

// disposition is how a delivery ends. The zero value means that it has not ended.
type disposition struct {
	settlement
	unused    bool            // the permits that the message took are to be given back
	refused   bool            // the handler's answer is a 4xx
	delayed   bool            // the message waits for the permit that is reserved for it
	later     bool            // the message may wait in RETRY, and at follows from delay
	half      bool            // it may use no more than half of RETRY
	errorType errorType       // for the metrics; errorNone if all went well, or if the handler has refused the message
	delay     time.Duration   // before the next delivery, for a nak
	at        int64           // when delay is over, by JetStream's clock, in Unix ns, if the message may wait in RETRY; else 0
	reason    contract.Reason // of the dead letter, for a term
	status    contract.Status // for the sender and the metrics
	failure   *contract.Error // for the sender; nil if all went well
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
	errorWorkerKilled
	errorOverloaded
	errorLaneFull
	numErrorTypes = iota
)

var errorNames = [numErrorTypes]string{
	"none", "malformed", "handler_error", "timeout", "no_handler", "panic", "limits_unavailable", "expired",
	"worker_killed", "overloaded", "lane_full",
}

// attempted reports whether the error is that of a handler that ran.
func (e errorType) attempted() bool { return e == errorHandler || e == errorTimeout || e == errorPanic }

// String returns the label value.
func (e errorType) String() string { return errorNames[e] }

// panicError is a handler's panic. The stack goes to the log, never to the caller.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return "the handler panicked" }

// handled returns the disposition of a message whose handler returned err; nil is success. No other function decides
// what follows from a handler's error.
func (p *retryPolicy) handled(err error, t *try) disposition {
	if err == nil {
		return disposition{settlement: ack, status: contract.StatusOK}
	}
	d := disposition{status: contract.StatusError, cause: withoutTokens(err.Error())}
	var (
		handler  *HandlerError
		nobody   *noHandlerError
		later    *laterError
		tooLarge tooLargeError
	)
	switch {
	case errors.As(err, new(*panicError)), errors.As(err, new(*resultError)):
		d.spoiled(err)
	case errors.As(err, &handler) && handler.Code >= 400 && handler.Code <= 499: // this is an answer
		d.settlement, d.refused = ack, true
		d.failure = &contract.Error{Code: handler.Code, Message: withoutTokens(handler.Message)}
	case errors.As(err, &tooLarge):
		d.settlement, d.reason, d.errorType, d.failure = term, contract.ReasonNoHandler, errorNoHandler, tooLarge.outcome()
	case errors.As(err, &nobody):
		d.errorType, d.failure = errorNoHandler, &contract.Error{Code: http.StatusBadGateway, Message: nobody.Error()}
		if p.givesUp(t) {
			d.settlement, d.reason = term, contract.ReasonNoHandler
			break
		}
		p.again(&d, t, t.earlier+1)
	case errors.As(err, &later) && t.now.Sub(t.stored) < p.until:
		d.failure = &contract.Error{Code: http.StatusServiceUnavailable, Message: withoutTokens(later.reason)}
		p.putOff(&d, t, later.after, t.now.Add(later.after))
	default:
		d.failed(err)
		if t.attempt >= t.maxAttempts {
			d.settlement, d.reason = term, contract.ReasonAttemptsExhausted
			break
		}
		p.again(&d, t, t.attempt)
	}
	return d
}

// withoutTokens is a text of a handler without the tokens of interactions: a library's error may have one in a URL.
func withoutTokens(text string) string { return string(discord.Redact([]byte(text))) }

// spoiled sets the disposition of a message that must not be handled again, although its handler did not succeed: it
// has panicked, or it has done its work, but its result cannot be sent.
func (d *disposition) spoiled(err error) {
	if panicked, ok := errors.AsType[*panicError](err); ok {
		d.settlement, d.reason, d.errorType = term, contract.ReasonPanic, errorPanic
		d.failure = &contract.Error{Code: http.StatusInternalServerError, Message: panicked.Error()}
		return
	}
	d.settlement, d.errorType = ack, errorHandler
	d.failure = &contract.Error{Code: http.StatusBadGateway, Message: d.cause}
}

// failed sets what the sender and the metrics are told of a handler that failed.
func (d *disposition) failed(err error) {
	d.errorType, d.failure = errorHandler, &contract.Error{Code: http.StatusInternalServerError, Message: "the handler failed"}
	if handler, ok := errors.AsType[*HandlerError](err); ok {
		d.failure = &contract.Error{Code: handler.Code, Message: withoutTokens(handler.Message)}
		if handler.Code == http.StatusServiceUnavailable {
			d.failure.Code = http.StatusBadGateway // 503 is what arrakis itself says: not now
		}
		return
	}
	if errors.Is(err, context.DeadlineExceeded) {
		d.errorType, d.failure = errorTimeout, &contract.Error{Code: http.StatusGatewayTimeout, Message: "the handler took too long"}
	}
}

// exhausted is the disposition of a message that comes again although it has had all its attempts. A message that was
// in progress when its workers died, one after the other, has most likely killed them. If its handler failed as often,
// it has not.
func exhausted(earlier attempts.Earlier) disposition {
	d := disposition{
		settlement: term, reason: contract.ReasonAttemptsExhausted, status: contract.StatusError, errorType: errorHandler,
		cause:   fmt.Sprintf("the handler failed %d times", earlier.Failed),
		failure: &contract.Error{Code: http.StatusInternalServerError, Message: "the handler failed"},
	}
	if earlier.Died > 0 {
		d.cause = fmt.Sprintf("the worker died %d times while it handled this message; %s", earlier.Died, d.cause)
	}
	if earlier.Died > earlier.Failed {
		d.reason, d.errorType = contract.ReasonWorkerKilled, errorWorkerKilled
		d.failure.Message = "the worker died while it handled this message"
	}
	return d
}

// letter is the disposition of a message of which it was decided earlier that it becomes a dead letter.
func letter(reason contract.Reason, cause string) disposition {
	d := disposition{
		settlement: term, reason: reason, status: contract.StatusError, errorType: errorHandler, cause: cause,
		failure: &contract.Error{Code: http.StatusInternalServerError, Message: "the handler failed"},
	}
	switch reason {
	case contract.ReasonMalformed, contract.ReasonNoCommunity:
		d.errorType, d.failure = errorMalformed, &contract.Error{Code: http.StatusBadRequest, Message: cause}
	case contract.ReasonNoHandler:
		d.errorType, d.failure = errorNoHandler, &contract.Error{Code: http.StatusBadGateway, Message: cause}
	case contract.ReasonPanic:
		d.errorType, d.failure.Message = errorPanic, "the handler panicked"
	case contract.ReasonWorkerKilled:
		d.errorType, d.failure.Message = errorWorkerKilled, "the worker died while it handled this message"
	case contract.ReasonAttemptsExhausted, contract.ReasonHandlerError:
	}
	return d
}

// decision is what Redis remembers of a message that becomes a dead letter; see decided.
func (d *delivery) decision() string {
	return fmt.Sprintf("%d %s %s", d.Attempt, d.reason, contract.Clip(d.cause, deadletter.MaxCause))
}

// decided returns the disposition that decision has described, and the message's attempts.
func decided(decision string) (d disposition, attempts int) {
	number, rest, _ := strings.Cut(decision, " ")
	reason, cause, _ := strings.Cut(rest, " ")
	attempts, _ = strconv.Atoi(number) // 0 if somebody else has written to the record
	return letter(contract.Reason(reason), cause), attempts
}

// postponed is the disposition of a message that must wait for another one, so it comes again soon.
func postponed() disposition { return disposition{settlement: nak, delay: backoff(1)} }

// moved makes d the disposition of a message that is stored in a lane, or in RETRY. What went wrong before is kept, for
// its trace.
func (d *disposition) moved() { *d = disposition{settlement: carriedOn, errorType: d.errorType} }

// laneFull is the disposition of a message that its lane has no room for. What nobody waits for is kept for later.
// unused says that the permits that it took are to be given back, delay when to try again.
func laneFull(awaited, unused bool, delay time.Duration) disposition {
	if !awaited {
		return disposition{settlement: nak, delay: delay, later: true, half: true}
	}
	return disposition{
		settlement: ack, unused: unused, status: contract.StatusError, errorType: errorLaneFull,
		failure: &contract.Error{
			Code: http.StatusServiceUnavailable, Message: "Too many messages of this community wait for their turn.",
			RetryAfterMS: contract.Milliseconds(delay),
		},
	}
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

// rejected is the disposition of a message that was not admitted. Either the message is over its limit, or unavailable
// is true: Redis is away and the policy is closed. In the second case a message without a waiting sender is kept for
// later, so that it is not lost.
func rejected(unavailable, awaited bool, retryAfter time.Duration) disposition {
	if !unavailable {
		return disposition{settlement: ack, status: contract.StatusRateLimited, failure: overLimit}
	}
	d := disposition{
		settlement: ack, status: contract.StatusError, errorType: errorUnavailable,
		failure: &contract.Error{Code: http.StatusServiceUnavailable, Message: "Limits cannot be checked now."},
	}
	if !awaited {
		d.settlement, d.delay, d.later = nak, max(retryAfter, unavailableDelay), true
	}
	return d
}

// overloaded is the disposition of a command that is refused because this process has too much work.
func overloaded(retryAfter time.Duration) disposition {
	return disposition{
		settlement: ack, status: contract.StatusError, errorType: errorOverloaded,
		failure: &contract.Error{
			Code: http.StatusServiceUnavailable, Message: "There is more work than this community's tier can be served with now.",
			RetryAfterMS: contract.Milliseconds(retryAfter),
		},
	}
}

var overLimit = &contract.Error{Code: http.StatusTooManyRequests, Message: "the limit is used up"}

// delayed is the disposition of a message over its limit that waits in RETRY until its permit is free, at a time by
// JetStream's clock.
func delayed(at time.Time) disposition {
	return disposition{settlement: nak, delayed: true, at: at.UnixNano()}
}

// aborted is the disposition of a message that the shutdown left no time for. JetStream delivers it to another process.
func aborted() disposition { return disposition{settlement: nak} }

// forgotten is the disposition of a message that waited here while its ack wait passed without word to JetStream: it
// comes again anyway.
func forgotten() disposition { return disposition{settlement: untold} }

// unavailableDelay is the time before the next try of a message that could not be checked, because Redis is away.
const unavailableDelay = 5 * time.Second
