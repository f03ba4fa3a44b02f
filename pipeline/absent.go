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

	// away are the known names, by number, whose subjects are remembered: so an answer costs no lock while its handler is
	// not absent. It is written under mu. What it says of 0, the names that are not known, is not used.
	away [1 + maxNumber]atomic.Bool

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
	if subject, isNew := a.isNew(d, now); isNew {
		a.log.WarnContext(ctx, "no handler answers; its messages are tried again later, see docs/handlers.md", "subject", subject)
	}
}

// answered notes that a handler has answered d, which it was sent at a time. The name of d must have been added to the
// known ones by then. All answers come here, one after the other: those of names that were known when d was sent cost no
// lock, whatever else is absent.
func (a *absent) answered(ctx context.Context, d *delivery, sent time.Time) {
	if d.known != 0 && !a.away[d.known].Load() {
		return
	}
	if subject, isOver := a.isOver(d, sent); isOver {
		a.log.InfoContext(ctx, "a handler answers again", "subject", subject)
	}
}

// isNew reports whether the log is to say that nobody answers at d's subject. It remembers only what the log says.
func (a *absent) isNew(d *delivery, now time.Time) (subject string, isNew bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	subject, known := a.known.subject(d.Kind, d.Name(d.Kind)) // under a.mu: see isOver
	isNew = !a.subjects.Contains(subject)
	if isNew && known == 0 {
		if now.Sub(a.interval) >= absentInterval {
			a.interval, a.unknown = now, 0
		}
		if a.unknown == maxUnknownAbsent {
			return subject, false
		}
		a.unknown++
	}
	a.subjects.Add(subject, now)
	a.away[known].Store(true)
	return subject, isNew
}

// isOver reports whether the log is to say that a handler is back, which has answered d, sent at a time. While a handler
// shuts down, it answers what it was sent before, and nobody answers what comes then.
//
// It also finds a subject that isNew has remembered for a name that was unknown then: the first answer comes here after
// its name was added, so either isNew has found the name among the known ones, or its subject is found here.
func (a *absent) isOver(d *delivery, sent time.Time) (subject string, isOver bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	subject, known := a.known.subject(d.Kind, d.Name(d.Kind))
	last, remembered := a.subjects.Peek(subject)
	isOver = remembered && sent.After(last)
	if isOver {
		a.subjects.Remove(subject)
	}
	a.away[known].Store(remembered && !isOver)
	return subject, isOver
}
