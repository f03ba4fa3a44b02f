// Package ops serves operators and orchestrators. Health is on both HTTP addresses. Metrics, profiles, the admin API and
// the console are on the ops address only.
//
//	GET /healthz, /health   200 while the process serves: {"status":"ok"}
//	GET /readyz, /ready     200 ready or degraded, 503 not_ready or draining, with every check
//	GET /openapi.json       what both addresses serve, for everybody
//	GET /metrics            Prometheus or OpenMetrics
//	    /debug/pprof/       for the scope all; cmdline has no arguments, because they may hold secrets
//	    /v1/                the admin API, for whoever may look; it says which scope a change needs
//	    /                   the console; /login, /logout and /assets/ are for everybody
//
// [auth.Access] says what a request may do: by a token, by a session, or, where no token is set, by asking on a loopback
// address. Nothing but what is listed as for everybody sees a request that may not even look. What else a request to the API
// may do is in the API's table of routes, so a scope is needed whatever page or program sends the request. A browser without
// a session that asks for a page is sent to the log-in.
//
// Requests for a foreign host, and those that a browser sends for a page of another site, are refused with 403, with or
// without a token; see [auth.Hosts]. Two kinds of paths are excepted: health, which the ingress serves to everybody,
// and /metrics on an address that is not loopback.
package ops
