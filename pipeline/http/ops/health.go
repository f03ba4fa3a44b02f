package ops

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"arrakis/pipeline/http/problem"
)

const (
	// checkTimeout bounds one check.
	checkTimeout = 2 * time.Second
	// reportAge is how long a report is served before the checks run again. So NATS and Redis see at most one round of
	// checks a second, however many probes arrive.
	reportAge = time.Second
	// startAge replaces reportAge while the process is not ready, so that probes soon learn that the process has become
	// ready.
	startAge = 50 * time.Millisecond
)

// Status is the result of one check.
type Status string

// The results of a check.
const (
	OK       Status = "ok"
	Degraded Status = "degraded" // works with restrictions: the process stays ready
	Failed   Status = "failed"   // the process is not ready
)

// Result is the result of one check. Detail is for people. It must hold no secret, because it is shown on the ingress
// too.
type Result struct {
	Status Status `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Check checks one thing that the process needs. ctx ends 2 s after the check has started. The check then counts as
// failed, and must return soon.
type Check func(ctx context.Context) Result

// Health answers /healthz and /readyz, and collects the metrics that say the same. It is safe for concurrent use.
type Health struct {
	checks   map[string]Check // set by NewHealth, read-only
	draining atomic.Bool
	last     atomic.Pointer[report] // written by the only round in progress
	flight   singleflight.Group
}

// report is one round of checks.
type report struct {
	at     time.Time
	status string
	checks map[string]Result
}

// NewHealth makes a Health of checks by name, such as nats, redis and consumers. Later changes of the map have no
// effect.
func NewHealth(checks map[string]Check) *Health {
	h := &Health{checks: make(map[string]Check, len(checks))}
	for name, check := range checks {
		h.checks[name] = check
	}
	return h
}

// SetDraining makes the process not ready from now on.
func (h *Health) SetDraining() { h.draining.Store(true) }

// Mount serves /healthz, /health, /readyz and /ready on mux.
func (h *Health) Mount(mux *http.ServeMux) {
	for _, path := range []string{"/healthz", "/health"} {
		mux.HandleFunc(path, h.serveHealth)
	}
	for _, path := range []string{"/readyz", "/ready"} {
		mux.HandleFunc(path, h.serveReady)
	}
}

// status is the body of a health answer.
type status struct {
	Status string            `json:"status"`
	Checks map[string]Result `json:"checks,omitempty"`
}

func (h *Health) serveHealth(w http.ResponseWriter, r *http.Request) {
	answer(w, r, http.StatusOK, status{Status: "ok"})
}

func (h *Health) serveReady(w http.ResponseWriter, r *http.Request) {
	rep := h.report(r.Context())
	body := status{Status: h.status(rep), Checks: rep.checks}
	code := http.StatusOK
	if !ready(body.Status) {
		code = http.StatusServiceUnavailable
	}
	answer(w, r, code, body)
}

// Report returns what /readyz would say: ready, degraded, not_ready or draining, and the results of the checks by name. It
// makes a round of checks that probes do not share: a probe that comes when the process has just become ready must not
// hear what was found before.
func (h *Health) Report(ctx context.Context) (status string, checks map[string]Result) {
	rep := h.round(ctx)
	return h.status(rep), rep.checks
}

// status is that of the report, or draining.
func (h *Health) status(rep *report) string {
	if h.draining.Load() {
		return "draining"
	}
	return rep.status
}

func ready(status string) bool { return status != "draining" && status != "not_ready" }

// report is the last round of checks, or a new round if the last round is old. Probes that arrive during a round share
// its result.
func (h *Health) report(ctx context.Context) *report {
	if rep := h.last.Load(); rep != nil {
		age := reportAge
		if rep.status == "not_ready" {
			age = startAge
		}
		if time.Since(rep.at) < age {
			return rep
		}
	}
	// The round does not end with the probe that began it, because other probes wait for the round too.
	ctx = context.WithoutCancel(ctx)
	_, _, _ = h.flight.Do("", func() (any, error) {
		h.last.Store(h.round(ctx))
		return nil, nil
	})
	return h.last.Load()
}

// round runs all checks at the same time.
func (h *Health) round(ctx context.Context) *report {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // protects results
	results := make(map[string]Result, len(h.checks))
	for name, check := range h.checks {
		wg.Go(func() {
			result := check(ctx)
			if ctx.Err() != nil {
				result = Result{Status: Failed, Detail: "no answer within " + checkTimeout.String()}
			}
			mu.Lock()
			defer mu.Unlock()
			results[name] = result
		})
	}
	wg.Wait()
	rep := &report{at: time.Now(), status: "ready", checks: results}
	for _, result := range results {
		switch {
		case result.Status == Degraded && rep.status == "ready":
			rep.status = "degraded"
		case result.Status != OK && result.Status != Degraded:
			rep.status = "not_ready"
		}
	}
	return rep
}

// answer writes a health answer. An error only means that the client is gone.
func answer(w http.ResponseWriter, r *http.Request, code int, body status) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		_ = problem.MethodNotAllowed(w.Header(), r, "GET, HEAD").Write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
