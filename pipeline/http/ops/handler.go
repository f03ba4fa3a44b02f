package ops

import (
	"errors"
	"io"
	"net/http"
	"net/http/pprof" // Handler serves it guarded; no server uses the default mux
	"os"
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
	// Bearer checks the tokens of requests for /v1/ and /debug/pprof/. If it asks for no token, these paths answer only
	// if Loopback is true.
	Bearer auth.Bearer
	// Hosts are the hosts that requests may name, and with them the web pages that may send requests. Defaults to
	// localhost and all IP addresses.
	Hosts auth.Hosts
	// Loopback says that the handler's listener is bound to a loopback address, so that only this machine can reach it.
	Loopback bool
}

// Handler serves the ops address; see the package comment for the paths. The error says that Health is missing.
func Handler(o Options) (http.Handler, error) {
	if o.Health == nil {
		return nil, errors.New("ops options: Health is nil")
	}
	mux := http.NewServeMux()
	o.Health.Mount(mux)
	if o.Gatherer != nil {
		mux.Handle("/metrics", o.metrics())
	}
	if o.Admin != nil {
		mux.Handle("/v1/", o.guarded(o.Admin))
	}
	mux.Handle("/debug/pprof/", o.guarded(http.HandlerFunc(pprof.Index)))
	mux.Handle("/debug/pprof/cmdline", o.guarded(http.HandlerFunc(commandLine)))
	mux.Handle("/debug/pprof/profile", o.guarded(http.HandlerFunc(pprof.Profile)))
	mux.Handle("/debug/pprof/symbol", o.guarded(http.HandlerFunc(pprof.Symbol)))
	mux.Handle("/debug/pprof/trace", o.guarded(http.HandlerFunc(pprof.Trace)))
	mux.Handle("/", o.local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { deny(w, problem.NotFound(r)) })))
	return mux, nil
}

// metrics serves the metrics without a token. On an address that other machines reach, it serves them for any host,
// because Prometheus asks by the names of services, and whoever reaches the address may read them anyway. On a loopback
// address a foreign host means that a web page wants to read what its owner cannot reach.
func (o *Options) metrics() http.Handler {
	h := promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
	if o.Loopback {
		return o.local(h)
	}
	return h
}

// local refuses requests for foreign hosts and from foreign web pages.
func (o *Options) local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := o.Hosts.CheckHost(r)
		if p == nil {
			p = o.Hosts.CheckOrigin(r)
		}
		if p != nil {
			deny(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guarded passes local requests with a token on to next. If no token is set, it passes all of them on a loopback
// address, and none on another address.
func (o *Options) guarded(next http.Handler) http.Handler {
	return o.local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := o.Bearer.Check(w.Header(), r)
		if !o.Bearer.Required() && !o.Loopback {
			p = problem.New(http.StatusForbidden, "admin-token-needed",
				"This address can be reached from other machines, so this path needs a token. Start arrakis with ADMIN_TOKEN, or bind OPS_ADDR to 127.0.0.1.")
		}
		if p != nil {
			deny(w, p)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// commandLine answers as pprof.Cmdline does, but without the arguments, because flags may hold tokens and passwords.
func commandLine(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, os.Args[0]) //nolint:gosec // plain text; an error only means that the client is gone
}

// deny answers with p. An error only means that the client is gone.
func deny(w http.ResponseWriter, p *problem.Problem) { _ = p.Write(w) }
