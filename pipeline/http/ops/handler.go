package ops

import (
	"errors"
	"io"
	"net/http"
	"net/http/pprof" // Handler serves it guarded; no server uses the default mux
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/openapi"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/http/requestid"
	"arrakis/tenant/store"
)

// Options are the settings of [Handler].
type Options struct {
	// Health answers the health paths. Required.
	Health *Health
	// Gatherer collects the metrics. Defaults to none: /metrics answers 404.
	Gatherer prometheus.Gatherer
	// Admin serves all paths under /v1/. It is asked by requests that may look, and must check whether they may change what
	// they ask it to. Defaults to none: they answer 404.
	Admin http.Handler
	// Console serves the pages. It is asked for all other paths by requests that may look, and by every request for
	// /login, /logout and /assets/. Defaults to none: they answer 404.
	Console http.Handler
	// Access gives requests for /v1/, /debug/pprof/ and the console their grants, which [auth.GrantOf] returns. Defaults
	// to one that refuses all of them.
	Access auth.Access
	// Hosts are the hosts that requests may name, and with them the web pages that may send requests. Defaults to
	// localhost and all IP addresses.
	Hosts auth.Hosts
	// Loopback says that the handler's listener is bound to a loopback address, so that only this machine can reach it.
	// Metrics are for any host otherwise.
	Loopback bool
}

// Handler serves the ops address; see the package comment for the paths. The error says that Health is missing.
func Handler(o Options) (http.Handler, error) {
	if o.Health == nil {
		return nil, errors.New("ops options: Health is nil")
	}
	mux := http.NewServeMux()
	o.Health.Mount(mux)
	mux.Handle(openapi.Path, o.local(openapi.Handler()))
	if o.Gatherer != nil {
		mux.Handle("/metrics", o.metrics())
	}
	if o.Admin != nil {
		mux.Handle("/v1/", o.guarded(o.Admin, func(*http.Request) auth.Scope { return auth.View }))
	}
	for path, h := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": commandLine, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.Handle("/debug/pprof/"+path, o.guarded(h, func(*http.Request) auth.Scope { return auth.All }))
	}
	if o.Console == nil {
		o.Console = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { deny(w, problem.NotFound(r)) })
		mux.Handle("/", o.local(o.Console))
		return mux, nil
	}
	for _, path := range []string{"/login", "/logout", "/assets/"} {
		mux.Handle(path, o.local(o.Console))
	}
	mux.Handle("/", o.page(o.guarded(o.Console, forPage)))
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

// local refuses requests for foreign hosts and from foreign web pages. The answer to a request has its ID.
func (o *Options) local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(requestid.Header, requestid.Of(r))
		p := o.Hosts.CheckHost(r)
		if p == nil {
			p = o.Hosts.CheckOrigin(r)
		}
		if p != nil {
			deny(w, p)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// forPage is the scope that a request to the console needs.
func forPage(r *http.Request) auth.Scope {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return auth.View
	}
	return auth.All
}

// guarded passes local requests on to next that have the scope needed. The request's context carries its grant, and the
// origin of what it changes.
func (o *Options) guarded(next http.Handler, needed func(*http.Request) auth.Scope) http.Handler {
	return o.local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		grant, until := o.Access.Grant(r, time.Now())
		if p := o.Access.Check(w.Header(), grant, needed(r)); p != nil {
			deny(w, p)
			return
		}
		ctx, cancel := auth.WithGrant(r.Context(), grant, until)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(store.WithOrigin(ctx, origin(w.Header(), r, grant))))
	}))
}

// page sends a browser that asks for a page to the log-in if it has no session. All other requests pass to next.
func (o *Options) page(next http.Handler) http.Handler {
	toLogIn := o.local(http.HandlerFunc(logIn))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forPage(r) == auth.View && strings.Contains(r.Header.Get("Accept"), "text/html") {
			if grant, _ := o.Access.Grant(r, time.Now()); !grant.Allows(auth.View) {
				toLogIn.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// logIn redirects to the log-in, which leads back. With a request for which a link on another site was followed, a
// browser does not send the cookie of the session; it does with the next one, so it is told to ask again first.
func logIn(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><meta http-equiv="refresh" content="0"><title>arrakis</title>`) // an error only means that the client is gone
		return
	}
	to := "/login"
	if r.URL.RequestURI() != "/" {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
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
