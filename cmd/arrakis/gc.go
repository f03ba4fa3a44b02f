package main

import "runtime/debug"

// gcPercent is how much a worker's heap may grow before it is collected,
// instead of Go's 100. What lives in it is small, some 20 MB without tenants,
// and every message leaves two kilobytes behind. In one comparison a million
// messages at saturation took 12.8 CPU seconds and 37 MiB with 100, and 9.2 and
// 73 MiB with 400 (GOGC=100 go run ./loadtest bench --only memory; and 400).
const gcPercent = 400

// tuneGC sets it, unless the operator has said otherwise.
func tuneGC(p process) {
	if _, set := p.lookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}
