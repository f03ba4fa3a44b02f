package main

import (
	"fmt"
	"time"
)

// status is one line.
func (r *run) status() string {
	r.mu.Lock()
	now, done := r.now, len(r.faults)
	r.mu.Unlock()
	acknowledged, begun := r.ledger.Acknowledged()
	return fmt.Sprintf("%d of %d messages acknowledged, %d handler runs, %d of %d faults%s",
		acknowledged, r.o.messages+r.all*burstMessages, begun, done, len(r.plan), now)
}

// enter begins a fault's slots, and leave ends them.
func (r *run) enter(k faultKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.current, r.now = time.Now(), k.slots, "; now: "+k.name
}

func (r *run) leave(k faultKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots += k.slots
	r.current, r.began, r.now = 0, time.Now(), ""
}
