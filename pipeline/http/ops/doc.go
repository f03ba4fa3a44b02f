// Package ops serves operators and orchestrators. Health is on both HTTP addresses. Metrics, profiles and the admin API
// are on the ops address only.
//
//	GET /healthz, /health   200 while the process serves: {"status":"ok"}
//	GET /readyz, /ready     200 ready or degraded, 503 not_ready or draining, with every check
//	GET /metrics            Prometheus or OpenMetrics
//	    /debug/pprof/       guarded; cmdline has no arguments, because they may hold secrets
//	    /v1/                the admin API, guarded
//
// Guarded paths need an admin token. Where no token is set, they answer only on a loopback address.
//
// Requests for a foreign host, and those that a browser sends for a page of another site, are refused with 403, with or
// without a token; see [auth.Hosts]. Two kinds of paths are excepted: health, which the ingress serves to everybody,
// and /metrics on an address that is not loopback.
package ops
