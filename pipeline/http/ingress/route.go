package ingress

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/http/requestid"
	"arrakis/pipeline/tracing"
)

// route is one path of the ingress: its row in the contract's table of routes, and its metrics. The route for all paths
// that are not served has no row.
type route struct {
	*contract.Route

	requests *prometheus.CounterVec // by code
	seconds  prometheus.Observer
}

// pathOther is the route label of all paths that are not served.
const pathOther = "other"

// newRoutes makes the routes by path. A community or a check type has no dot, and an event type has no wildcard and no
// empty token (see package contract). So no message can reach a subject outside its route.
func newRoutes(m *metrics) map[string]*route {
	routes := map[string]*route{pathOther: {}}
	for kind := range contract.Kind(contract.NumKinds) {
		if r := kind.Route(); r.HTTPPath != "" {
			routes[r.HTTPPath] = &route{Route: r}
		}
	}
	for path, rt := range routes {
		rt.requests = m.requests.MustCurryWith(prometheus.Labels{"route": path})
		rt.seconds = m.seconds.WithLabelValues(path)
	}
	return routes
}

// statusClientGone is counted for a client that disconnected. It is never sent.
const statusClientGone = 499

// Handler serves the four routes of the package comment and answers every other path with a problem.
func (in *Ingress) Handler() http.Handler { return http.HandlerFunc(in.serve) }

// serve routes, measures and counts:
//
//	serve
//	  respond          token, slot and share
//	    read           a place among the readers
//	      newMessage   body and headers to a message for JetStream
//	    unrepeated     an event ID of the client's: the answer, if there was one
//	      run
//	        publish    message to outcome
//	          enter    into the stream, or straight into a lane
//	        newAnswer  outcome to answer
//	  write
func (in *Ingress) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rt, served := in.routes[r.URL.Path]
	if !served {
		rt = in.routes[pathOther]
	}
	w.Header().Set(requestid.Header, requestid.Of(r))

	var a answer
	if served {
		a = in.respond(w, r, rt)
	} else {
		a.problem = problem.NotFound(r)
	}
	code := in.write(w, r, a)
	rt.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	rt.seconds.Observe(time.Since(start).Seconds())
}

// respond handles the request and returns the answer.
func (in *Ingress) respond(w http.ResponseWriter, r *http.Request, rt *route) answer {
	h := w.Header()
	if r.Method != http.MethodPost {
		return answer{problem: problem.MethodNotAllowed(h, r, http.MethodPost)}
	}
	if p := in.options.Bearer.Check(h, r); p != nil {
		return answer{problem: p}
	}
	if err := in.hasSlot(); err != nil { // before the body is read for nothing
		return answer{problem: refused(h, err)}
	}
	m, p := in.read(w, r, rt)
	if p != nil {
		return answer{problem: p}
	}
	if err := in.acquireSlot(); err != nil {
		return answer{problem: forMessage(refused(h, err), m.envelope)}
	}
	defer in.releaseSlot()
	if !in.acquireShare(m.envelope.TenantKey) {
		return answer{problem: forMessage(refused(h, errCommunityBusy), m.envelope)}
	}
	defer in.releaseShare(m.envelope.TenantKey)
	m.setHeader(contract.HeaderRequestID, h.Get(requestid.Header))
	preferAsync := prefersAsync(r.Header.Values("Prefer"))
	waits := rt.Waits && !preferAsync
	var a answer
	if m.repeatable() && in.options.Idempotency != nil {
		a = in.unrepeated(r, m, waits)
	} else {
		a = in.run(r.Context(), m, waits)
	}
	if preferAsync && a.status == http.StatusAccepted {
		h.Set("Preference-Applied", "respond-async")
	}
	return a
}

// run publishes the message and returns the answer.
func (in *Ingress) run(ctx context.Context, m *message, waits bool) answer {
	m.wait, m.senderWait = in.options.Wait, in.options.Wait
	outcome, err := in.publish(ctx, m, waits)
	switch {
	case err != nil:
		return answer{problem: in.unanswered(m, err)}
	case !waits:
		return accepted(m)
	}
	a := newAnswer(outcome.Data, m.envelope)
	if a.problem != nil && a.problem.Status == http.StatusBadGateway {
		in.log.Debug("outcome is a failure", "event_id", m.envelope.EventID, "community_id", m.envelope.TenantKey,
			"trace_id", tracing.LogID(tracing.ParentOf(m.msg.Header)), "reason", a.problem.Detail)
	}
	return a
}

// read makes a message of the request. It takes as long as the client takes to send the body, and no slot meanwhile.
func (in *Ingress) read(w http.ResponseWriter, r *http.Request, rt *route) (*message, *problem.Problem) {
	data, p := in.ReadBody(w, r, messageRules(in.options.MaxBody))
	if p != nil {
		return nil, p
	}
	return newMessage(r, rt, data)
}

// ReadBody reads the body of a request by rules. At most MaxReading bodies are read at once: one more cuts off the one
// that has been read for the longest, which is answered 408.
func (in *Ingress) ReadBody(w http.ResponseWriter, r *http.Request, rules body.Rules) ([]byte, *problem.Problem) {
	reading := in.readers.begin(w)
	data, p := rules.Read(w, r)
	if in.readers.end(reading) {
		return nil, tooSlow()
	}
	return data, p
}

// refused is the problem of a request that got no slot or no share. err is the reason.
func refused(h http.Header, err error) *problem.Problem {
	name, detail := "busy", "Too many requests are in flight. Nothing was stored; repeat the request later."
	switch {
	case errors.Is(err, errCommunityBusy):
		detail = "Too many requests of this community are in flight. Nothing was stored; repeat the request later."
	case errors.Is(err, errNotRunning):
		name, detail = "not-running", "This process is starting or shutting down. Nothing was stored; repeat the request."
		h.Set("Connection", "close") // the next request may reach another process
	}
	return problem.New(http.StatusServiceUnavailable, name, "%s", detail).RetryAfter(retrySoon)
}
