package main

import "runtime/debug"

// gcPercent is how much a worker's heap may grow before it is collected,
// instead of Go's 100. What lives in it is small, some 20 MB without tenants,
// and every message leaves two kilobytes behind: with 100 the collector takes
// a fifth of the CPU at saturation, with 400 about a twentieth, for 50 MB more
// (go run ./loadtest bench --only memory, with GOGC=100 and without).
const gcPercent = 400

// tuneGC sets it, unless the operator has said otherwise.
func tuneGC(p process) {
	if _, set := p.lookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}
