package ops

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof" // Handler serves it guarded; no server uses the default mux
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/problem"
)

// Options are the settings of [Handler].
type Options struct {
	// Health answers the health paths. Required.
	Health *Health
	// Gatherer collects the metrics. Defaults to none: /metrics answers 404.
	Gatherer prometheus.Gatherer
	// Admin serves all paths under /v1/. Defaults to none: they answer 404.
	Admin http.Handler
	// AdminToken is the bearer token for /v1/ and /debug/pprof/, in visible ASCII. Without a token these paths answer
	// only if Loopback is true.
	AdminToken string
	// Loopback says that the handler's listener is bound to a loopback address, so that only this machine can reach it.
	Loopback bool
}

// Handler serves the ops address; see the package comment for the paths. The error says that AdminToken is bad or
// Health is missing.
func Handler(o Options) (http.Handler, error) {
	bearer, err := auth.NewBearer(o.AdminToken)
	if err != nil {
		return nil, fmt.Errorf("ops options: AdminToken %w", err)
	}
	if o.Health == nil {
		return nil, errors.New("ops options: Health is nil")
	}
	mux := http.NewServeMux()
	o.Health.Mount(mux)
	if o.Gatherer != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
			EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
		}))
	}
	guard := func(next http.Handler) http.Handler { return guarded(bearer, o.Loopback, next) }
	if o.Admin != nil {
		mux.Handle("/v1/", guard(o.Admin))
	}
	mux.Handle("/debug/pprof/", guard(http.HandlerFunc(pprof.Index)))
	mux.Handle("/debug/pprof/cmdline", guard(http.HandlerFunc(pprof.Cmdline)))
	mux.Handle("/debug/pprof/profile", guard(http.HandlerFunc(pprof.Profile)))
	mux.Handle("/debug/pprof/symbol", guard(http.HandlerFunc(pprof.Symbol)))
	mux.Handle("/debug/pprof/trace", guard(http.HandlerFunc(pprof.Trace)))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { deny(w, problem.NotFound(r)) })
	return mux, nil
}

// guarded passes requests with the token on to next. If no token is set, it passes all requests on a loopback address,
// and no request on another address.
func guarded(bearer auth.Bearer, loopback bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := bearer.Check(w.Header(), r)
		if !bearer.Required() && !loopback {
			p = problem.New(http.StatusForbidden, "admin-token-needed",
				"This address can be reached from other machines, so this path needs a token. Start arrakis with ADMIN_TOKEN, or bind OPS_ADDR to 127.0.0.1.")
		}
		if p != nil {
			deny(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// deny answers with p. An error only means that the client is gone.
func deny(w http.ResponseWriter, p *problem.Problem) { _ = p.Write(w) }
