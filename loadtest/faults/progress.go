package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress shows how far the runs are. On a terminal the last line says where they are now; elsewhere nothing is
// written over. Its methods are safe for concurrent use.
type progress struct {
	mu       sync.Mutex // protects w
	w        io.Writer
	terminal bool
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok {
		return &progress{w: w}
	}
	info, err := f.Stat()
	return &progress{w: w, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// Sequences that terminals know.
const (
	clearLine = "\r\033[K"
	noWrap    = "\033[?7l" // a line that is longer than the terminal is wide is cut, as clearLine clears one line
	wrap      = "\033[?7h"
)

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	if p.terminal {
		line = clearLine + line
	}
	p.write(line)
}

// now writes where a run is: on a terminal, until the next line or the next call.
func (p *progress) now(status string) {
	if p.terminal {
		p.write(clearLine + noWrap + status + wrap)
		return
	}
	p.write(status + "\n")
}

// clear takes the line of now off a terminal.
func (p *progress) clear() {
	if p.terminal {
		p.write(clearLine)
	}
}

func (p *progress) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.w, text) // progress that cannot be shown does not end a run
}

// report shows where the run is until ctx ends: each second on a terminal, elsewhere every 20 s.
func (r *run) report(ctx context.Context, p *progress) {
	every := 20 * time.Second
	if p.terminal {
		every = time.Second
	}
	for pause(ctx, every) == nil {
		p.now(r.status())
	}
	p.clear()
}

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
