// Package ops serves operators and orchestrators. Health is on both HTTP addresses. Metrics, profiles and the admin API
// are on the ops address only.
//
//	GET /healthz, /health   200 while the process serves: {"status":"ok"}
//	GET /readyz, /ready     200 ready or degraded, 503 not_ready or draining, with every check
//	GET /metrics            Prometheus or OpenMetrics
//	    /debug/pprof/       guarded
//	    /v1/                the admin API, guarded
//
// Guarded paths need the admin token. Where no token is set, they answer only on a loopback address.
package ops
