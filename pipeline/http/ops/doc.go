// Package ops serves operators and orchestrators. Health is on both HTTP addresses. Metrics, profiles, the admin API and
// the console are on the ops address only.
//
//	GET /healthz, /health   200 while the process serves: {"status":"ok"}
//	GET /readyz, /ready     200 ready or degraded, 503 not_ready or draining, with every check
//	GET /openapi.json       what both addresses serve, for everybody
//	GET /metrics            Prometheus or OpenMetrics
//	    /debug/pprof/       for admins; cmdline has no arguments, because they may hold secrets
//	    /v1/                the admin API: GET and HEAD for whoever may look, the rest for admins
//	    /                   the console; /login, /logout and /assets/ are for everybody
//
// [auth.Access] says who may look and who is an admin: by a token, by a session, or, where no token is set, by asking on
// a loopback address. Here alone is it decided, by method and path, before the API or the console sees a request: a role
// that may only look is refused whatever page or program sends the request. A browser without a session that asks for a
// page is sent to the log-in.
//
// Requests for a foreign host, and those that a browser sends for a page of another site, are refused with 403, with or
// without a token; see [auth.Hosts]. Two kinds of paths are excepted: health, which the ingress serves to everybody,
// and /metrics on an address that is not loopback.
package ops
