package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxAbsent is how many subjects are remembered at which no handler answers. It is more than there are known names.
	maxAbsent = 1_000
	// maxUnknownAbsent is how many warnings an absentInterval has for names that no handler has answered yet: senders can
	// make up any number of them.
	maxUnknownAbsent = 10
	absentInterval   = time.Minute
)

// absent says in the log at which subjects no handler answers, once for each, and when it answers again. It is safe for
// concurrent use.
type absent struct {
	known *names
	log   *slog.Logger

	remembered atomic.Int64 // len(subjects), so that an answer costs no lock while no handler is absent

	mu       sync.Mutex                        // protects the fields below
	subjects *simplelru.LRU[string, time.Time] // those that the log names, and when last nobody answered there
	interval time.Time                         // when the interval began
	unknown  int                               // warnings of unknown names in the interval
}

func newAbsent(known *names, log *slog.Logger) *absent {
	subjects, _ := simplelru.NewLRU[string, time.Time](maxAbsent, nil) // an error only for a size below 1
	return &absent{known: known, log: log, subjects: subjects}
}

// missing notes that at now no handler has answered d.
func (a *absent) missing(ctx context.Context, d *delivery, now time.Time) {
	subject, known := a.known.subject(d.Kind, d.Name(d.Kind))
	if a.isNew(subject, known, now) {
		a.log.WarnContext(ctx, "no handler answers; its messages are tried again later, see docs/handlers.md", "subject", subject)
	}
}

// answered notes that a handler has answered d, which it was sent at a time.
func (a *absent) answered(ctx context.Context, d *delivery, sent time.Time) {
	if a.remembered.Load() == 0 {
		return
	}
	if subject, _ := a.known.subject(d.Kind, d.Name(d.Kind)); a.isOver(subject, sent) {
		a.log.InfoContext(ctx, "a handler answers again", "subject", subject)
	}
}

// isNew reports whether the log is to say that nobody answers at subject. It remembers only what the log says.
func (a *absent) isNew(subject string, known bool, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	isNew := !a.subjects.Contains(subject)
	if isNew && !known {
		if now.Sub(a.interval) >= absentInterval {
			a.interval, a.unknown = now, 0
		}
		if a.unknown == maxUnknownAbsent {
			return false
		}
		a.unknown++
	}
	a.subjects.Add(subject, now)
	a.remembered.Store(int64(a.subjects.Len()))
	return isNew
}

// isOver reports whether the log is to say that a handler is back, which has answered a message sent at a time. While a
// handler shuts down, it answers what it was sent before, and nobody answers what comes then.
func (a *absent) isOver(subject string, sent time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.subjects.Peek(subject); !ok || !sent.After(last) {
		return false
	}
	a.subjects.Remove(subject)
	a.remembered.Store(int64(a.subjects.Len()))
	return true
}
