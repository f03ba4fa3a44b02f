package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Progress shows how far a run is. On a terminal the last line says where it is now; elsewhere nothing is written over.
// Its methods are safe for concurrent use.
type Progress struct {
	mu       sync.Mutex // protects w
	w        io.Writer
	terminal bool
}

// NewProgress returns a Progress that writes to w.
func NewProgress(w io.Writer) *Progress {
	f, ok := w.(*os.File)
	if !ok {
		return &Progress{w: w}
	}
	info, err := f.Stat()
	return &Progress{w: w, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// Sequences that terminals know.
const (
	clearLine = "\r\033[K"
	noWrap    = "\033[?7l" // a line that is longer than the terminal is wide is cut, as clearLine clears one line
	wrap      = "\033[?7h"
)

// Say writes a line that stays.
func (p *Progress) Say(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	if p.terminal {
		line = clearLine + line
	}
	p.write(line)
}

// Now writes where a run is: on a terminal, until the next line or the next call.
func (p *Progress) Now(status string) {
	if p.terminal {
		p.write(clearLine + noWrap + status + wrap)
		return
	}
	p.write(status + "\n")
}

// Clear takes the line of Now off a terminal.
func (p *Progress) Clear() {
	if p.terminal {
		p.write(clearLine)
	}
}

func (p *Progress) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.w, text) // progress that cannot be shown does not end a run
}

// Report shows status until ctx ends: each second on a terminal, elsewhere every 20 s.
func (p *Progress) Report(ctx context.Context, status func() string) {
	every := 20 * time.Second
	if p.terminal {
		every = time.Second
	}
	for Pause(ctx, every) == nil {
		p.Now(status())
	}
	p.Clear()
}
