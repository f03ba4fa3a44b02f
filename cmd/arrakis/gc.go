package main

import "runtime/debug"

// gcPercent is by how many percent a worker's heap may grow before a garbage collection. Go's default is 100. The live
// heap is small, some 20 MB without tenants, and every message leaves two kilobytes of garbage. In one comparison a
// million messages at saturation took 12.8 CPU seconds and 37 MiB with 100, and 9.2 CPU seconds and 73 MiB with 400
// (GOGC=100 go run ./loadtest bench --only memory; then with GOGC=400).
const gcPercent = 400

// tuneGC sets gcPercent, unless the operator has set GOGC.
func tuneGC(p process) {
	if _, set := p.lookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}
