package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// report writes how far the run is, until ctx ends: on a terminal each second on one line, elsewhere a line every 20 s.
func (r *run) report(ctx context.Context, w io.Writer) {
	every := 20 * time.Second
	if terminal(w) {
		every = time.Second
	}
	for pause(ctx, every) == nil {
		line := r.status()
		if terminal(w) {
			_, _ = fmt.Fprintf(w, "\r\033[K%s", line)
			continue
		}
		_, _ = fmt.Fprintln(w, line)
	}
	if terminal(w) {
		_, _ = fmt.Fprint(w, "\r\033[K")
	}
}

// status is one line.
func (r *run) status() string {
	r.mu.Lock()
	now, done := r.now, len(r.faults)
	r.mu.Unlock()
	acknowledged, begun := r.ledger.Acknowledged()
	return fmt.Sprintf("%d of %d messages acknowledged, %d handler runs, %d of %d faults%s",
		acknowledged, r.o.messages, begun, done, len(r.plan), now)
}

// say writes a line of its own.
func (r *run) say(w io.Writer, line string) {
	if terminal(w) {
		line = "\r\033[K" + line
	}
	_, _ = fmt.Fprintln(w, line)
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
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
