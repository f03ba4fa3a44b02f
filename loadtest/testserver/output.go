package testserver

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Output takes what processes and loggers write while a test reads it. Any goroutine may call its methods.
type Output struct {
	mu   sync.Mutex // protects text
	text bytes.Buffer
}

// Write implements [io.Writer].
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns all that was written.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Count returns how often the part was written.
func (o *Output) Count(part string) int { return strings.Count(o.String(), part) }

// Logger returns a logger that writes into o.
func (o *Output) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(o, nil)) }
