package ingress

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/problem"
	"arrakis/tenant"
)

// badOutcome is the problem of an outcome that is not of the contract.
const badOutcome = "bad-outcome"

// answer is what a request gets: a problem, or a status with a body. The zero
// value is no answer, for the client has gone.
type answer struct {
	problem   *problem.Problem
	status    int
	body      []byte
	rateLimit contract.RateLimit // Action is "" where there is none
}

// accepted is the answer for a message that is stored and not waited for.
func accepted(m *message) answer {
	var b []byte
	b = append(b, `{"event_id":`...)
	b = strconv.AppendQuote(b, m.envelope.EventID) // visible ASCII: quoted as JSON does
	b = append(b, `,"community_id":"`...)
	b = append(b, m.envelope.TenantKey...)
	b = append(b, `","status":"accepted"}`...)
	return answer{status: http.StatusAccepted, body: b}
}

// newAnswer turns the outcome of e into the answer, which has the outcome's
// bytes as its body, or into a problem.
func newAnswer(outcome []byte, e contract.Envelope) answer {
	o, err := contract.DecodeOutcome(outcome)
	if err == nil && o.Status == contract.StatusOK {
		return answer{status: http.StatusOK, body: outcome, rateLimit: o.RateLimit}
	}
	return answer{problem: about(outcomeProblem(o, err), e), rateLimit: o.RateLimit}
}

// outcomeProblem is the problem for an outcome that is no success, or that
// could not be decoded because of err.
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
		return problem.New(o.Error.Code, "refused-by-handler", "%s", cmp.Or(o.Error.Message, "The handler gave no reason."))
	case o.Error.Code == http.StatusServiceUnavailable:
		p := problem.New(http.StatusServiceUnavailable, "limits-unavailable",
			"%s Repeat the request with the same event ID: it is charged once.",
			cmp.Or(o.Error.Message, "Limits cannot be checked now."))
		p.RetryAfterMS = max(o.RateLimit.RetryAfterMS, retrySoon.Milliseconds())
		return p
	default:
		return problem.New(http.StatusBadGateway, "handler-failed", "%s", cmp.Or(o.Error.Message, "The handler gave no reason."))
	}
}

// rateLimited says that the limit is used up and until when.
func rateLimited(l contract.RateLimit) *problem.Problem {
	detail := fmt.Sprintf("The community has used up its limit of %d for %.32q. Repeat the request in %d s, or raise the limit.",
		l.Limit, l.Action, max(1, seconds(l.RetryAfterMS)))
	if l.Limit == 0 {
		detail = fmt.Sprintf("The community's limit for %.32q is 0, which admits nothing. Raise the limit.", l.Action)
	}
	p := problem.New(http.StatusTooManyRequests, "rate-limited", "%s", detail)
	p.RateLimit = &l
	p.RetryAfterMS = l.RetryAfterMS
	return p
}

// about adds to p whose message it is about.
func about(p *problem.Problem, e contract.Envelope) *problem.Problem {
	p.EventID, p.Community = e.EventID, e.TenantKey
	return p
}

// write sends the answer and returns the status code to count.
func (in *Ingress) write(w http.ResponseWriter, r *http.Request, a answer) int {
	h := w.Header()
	setRateLimit(h, a.rateLimit)
	var err error
	switch {
	case a.problem != nil:
		a.problem.RequestID = h.Get("X-Request-Id")
		a.status = a.problem.Status
		err = a.problem.Write(w)
	case a.status != 0:
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(a.status)
		_, err = w.Write(a.body)
	}
	if a.status == 0 || err != nil {
		in.metrics.clientGone.Inc()
		in.log.Debug("client left", "path", r.URL.Path, "request_id", h.Get("X-Request-Id"))
		return statusClientGone
	}
	return a.status
}

// setRateLimit sets RateLimit-Policy and RateLimit, draft-ietf-httpapi-ratelimit-headers,
// unless the action is unlimited. Assigned, for Set would write Ratelimit.
func setRateLimit(h http.Header, l contract.RateLimit) {
	action, err := tenant.ParseAction(l.Action)
	if l.Limit < 0 || err != nil {
		return
	}
	policy := appendParameter([]byte(strconv.Quote(l.Action)), ";q=", l.Limit)
	policy = appendParameter(policy, ";w=", int64(action.Window()/time.Second))
	state := appendParameter([]byte(strconv.Quote(l.Action)), ";r=", max(0, l.Remaining))
	state = appendParameter(state, ";t=", seconds(l.ResetMS))
	h["RateLimit-Policy"] = []string{string(policy)}
	h["RateLimit"] = []string{string(state)}
}

func appendParameter(b []byte, name string, value int64) []byte {
	return strconv.AppendInt(append(b, name...), value, 10)
}

// seconds is milliseconds in whole seconds, up, and never negative.
func seconds(ms int64) int64 { return max(0, (ms+999)/1000) }
