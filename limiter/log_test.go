package limiter

import (
	"log/slog"
	"strings"
	"sync"
)

// logLines collects what is logged. It is safe for concurrent use.
type logLines struct {
	mu  sync.Mutex // protects buf
	buf strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count returns how many times the text was logged.
func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}
