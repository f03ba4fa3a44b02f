package ingress

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/http/requestid"
	"arrakis/tenant"
)

// Names of problems.
const (
	badOutcome       = "bad-outcome" // an outcome that breaks the contract
	refusedByHandler = "refused-by-handler"
	handlerFailed    = "handler-failed"
)

// answer is the HTTP answer to the client: a problem, or a status with a body. The zero value means that the client is
// gone and gets no answer.
type answer struct {
	problem   *problem.Problem
	status    int
	body      []byte             // JSON; a problem, with its newline, if status is 400 or more
	rateLimit contract.RateLimit // Action is "" if there is no rate limit
	replayed  bool               // the answer was given before
}

// accepted is the answer for a stored message when the client does not wait for the outcome.
func accepted(m *message) answer {
	// Both IDs are visible ASCII; Go quotes visible ASCII as JSON does.
	body := fmt.Appendf(nil, `{"event_id":%q,"community_id":%q,"status":"accepted"}`, m.envelope.EventID, m.envelope.TenantKey)
	return answer{status: http.StatusAccepted, body: body}
}

// newAnswer is the answer for the outcome of the message e. The body of a successful answer is the outcome's bytes
// (and the newline of write).
func newAnswer(outcome []byte, e contract.Envelope) answer {
	o, err := contract.DecodeOutcome(outcome)
	if err == nil && o.Status == contract.StatusOK {
		return answer{status: http.StatusOK, body: outcome, rateLimit: o.RateLimit}
	}
	return answer{problem: forMessage(outcomeProblem(o, err), e), rateLimit: o.RateLimit}
}

// outcomeProblem is the problem for an outcome that is not a success. err, if any, says why the outcome could not be
// decoded.
func outcomeProblem(o contract.OutcomeView, err error) *problem.Problem {
	switch {
	case err != nil:
		return problem.New(http.StatusBadGateway, badOutcome,
			"The worker's outcome is not JSON of the expected form. Check that workers and ingress are of one version.")
	case o.Status == contract.StatusRateLimited:
		return rateLimited(o.RateLimit)
	case o.Status == contract.StatusExpired:
		return problem.New(http.StatusGone, "expired",
			"The message waited too long for its turn, so it was neither charged nor handled. Send it again if it still matters.")
	case o.Status != contract.StatusError:
		return problem.New(http.StatusBadGateway, badOutcome,
			"The worker's outcome has the unknown status %.32q. Check that workers and ingress are of one version.", o.Status)
	case o.Error.Code >= 400 && o.Error.Code <= 499:
		return problem.New(o.Error.Code, refusedByHandler, "%s", cmp.Or(o.Error.Message, "The handler gave no reason."))
	case o.Error.Code == http.StatusServiceUnavailable && o.Error.RetryAfterMS > 0:
		p := problem.New(http.StatusServiceUnavailable, "overloaded",
			"%s Repeat the request in %d s.", cmp.Or(o.Error.Message, "There is too much work."), seconds(o.Error.RetryAfterMS))
		p.RetryAfterMS = o.Error.RetryAfterMS
		return p
	case o.Error.Code == http.StatusServiceUnavailable:
		p := problem.New(http.StatusServiceUnavailable, "limits-unavailable",
			"%s Repeat the request later.", cmp.Or(o.Error.Message, "Limits cannot be checked now."))
		p.RetryAfterMS = max(o.RateLimit.RetryAfterMS, retrySoon.Milliseconds())
		return p
	default:
		return problem.New(http.StatusBadGateway, handlerFailed, "%s", cmp.Or(o.Error.Message, "The handler gave no reason."))
	}
}

// rateLimited is the problem of a limit that is used up. It says when to repeat the request.
func rateLimited(l contract.RateLimit) *problem.Problem {
	who, whose := "The community", "The community's"
	if l.Action == tenant.UserCommand.String() {
		who, whose = "This user of the community", "The users'"
	}
	detail := fmt.Sprintf("%s has used up its limit of %d for %.32q. Repeat the request in %d s, or raise the limit.",
		who, l.Limit, l.Action, max(1, seconds(l.RetryAfterMS)))
	if l.Limit == 0 {
		detail = fmt.Sprintf("%s limit for %.32q is 0, which admits nothing. Raise the limit.", whose, l.Action)
	}
	p := problem.New(http.StatusTooManyRequests, "rate-limited", "%s", detail)
	p.RateLimit = &l
	p.RetryAfterMS = l.RetryAfterMS
	return p
}

// forMessage adds the IDs of a message to p.
func forMessage(p *problem.Problem, e contract.Envelope) *problem.Problem {
	p.EventID, p.Community = e.EventID, e.TenantKey
	return p
}

// write sends the answer and returns the status code to count.
func (in *Ingress) write(w http.ResponseWriter, r *http.Request, a answer) int {
	h := w.Header()
	setRateLimit(h, a.rateLimit)
	if a.replayed {
		h.Set(replayedHeader, "true")
	}
	var err error
	switch {
	case a.problem != nil:
		a.problem.RequestID = h.Get(requestid.Header)
		a.status = a.problem.Status
		err = a.problem.Write(w)
	case a.status >= 400:
		err = problem.WriteEncoded(w, a.status, a.body)
	case a.status != 0:
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(a.body)+1))
		w.WriteHeader(a.status)
		// The line ends, as that of a problem does, so that a shell's prompt is on the next one. The body is not
		// appended to: it is shared with what is remembered.
		_, err = w.Write(a.body)
		if err == nil {
			_, err = w.Write([]byte{'\n'})
		}
	}
	if a.status == 0 || err != nil {
		in.metrics.clientGone.Inc()
		in.log.Debug("the client is gone", "path", r.URL.Path, "request_id", h.Get(requestid.Header))
		return statusClientGone
	}
	return a.status
}

// setRateLimit sets the headers RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers, unless the
// action is unlimited.
func setRateLimit(h http.Header, l contract.RateLimit) {
	action, err := tenant.ParseAction(l.Action)
	if l.Limit < 0 || err != nil {
		return
	}
	// Set would write the name as Ratelimit-Policy.
	h["RateLimit-Policy"] = []string{fmt.Sprintf("%q;q=%d;w=%d", l.Action, l.Limit, action.Window()/time.Second)}
	h["RateLimit"] = []string{fmt.Sprintf("%q;r=%d;t=%d", l.Action, max(0, l.Remaining), seconds(l.ResetMS))}
}

// seconds is ms milliseconds in whole seconds, rounded up and never negative.
func seconds(ms int64) int64 { return max(0, (ms+999)/1000) }
