package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// MaxSeqs is how many dead letters a [Bulk] may name.
	MaxSeqs = 1000

	// maxPart is how many dead letters one part of a bulk run takes, and partTime for how long it goes on to the next one.
	maxPart  = 200
	partTime = 5 * time.Second
)

// Action is what a [Bulk] does with dead letters.
type Action string

// The actions.
const (
	ActionReplay Action = "replay"
	ActionPurge  Action = "purge"
)

// Bulk is a run over many dead letters. The caller makes it part by part: it calls [Store.Run] with the Next of the part
// before, as long as there is one. So nobody but the caller keeps anything of a run, and it stops when the caller does.
//
// A part may be repeated, and two may run at the same time: what is replayed is stored once, and what another has done
// already counts as gone.
type Bulk struct {
	Action Action
	// Seqs are the dead letters, at most MaxSeqs, in the order in which they are done.
	Seqs []uint64
	// Filter selects the dead letters if Seqs is empty, from the oldest to the newest one of the time when the run began.
	// What becomes a dead letter during the run, perhaps again because of it, is left alone.
	Filter Filter
	// Cursor is the Next of the part before. "" begins.
	Cursor string
}

// Part is what one part of a bulk run did.
type Part struct {
	Done int `json:"done"`
	// Gone counts those that another has replayed or purged, or that have become too old.
	Gone int `json:"gone"`
	// Failed are those that cannot be replayed. They stay, and do not stop the run.
	Failed []Failure `json:"failed"`
	// Progress is how far the run has come, from 0 to 1.
	Progress float64 `json:"progress"`
	// Next is the Cursor of the next part. It is "" when the run has ended.
	Next string `json:"next,omitempty"`
}

// Failure is a dead letter that cannot be replayed.
type Failure struct {
	Seq   uint64 `json:"seq"`
	Error string `json:"error"`
}

// Validate reports what is wrong with b: a [*QueryError], or nil.
func (b *Bulk) Validate() error {
	if len(b.Seqs) > MaxSeqs {
		return &QueryError{"seqs", fmt.Sprintf("must be at most %d dead letters", MaxSeqs)}
	}
	return b.Filter.Validate()
}

// Run does the next part of a bulk run: up to 200 dead letters, or as many as 5 s allow. Dead letters of a stream or a
// reason are purged all at once. An error other than [*QueryError] means that the part has done nothing, because NATS
// or the stream of the first dead letter does not take it now, or that NATS did not answer; the part may be repeated.
// The end of ctx ends the part before the next dead letter: what NATS was told to do is waited for and counted.
func (s *Store) Run(ctx context.Context, b Bulk) (Part, error) {
	if err := b.Validate(); err != nil {
		return Part{}, err
	}
	if b.Action == ActionPurge && len(b.Seqs) == 0 && b.Filter.Community == "" {
		n, err := s.purge(ctx, b.Filter, true)
		return Part{Done: int(n), Failed: []Failure{}, Progress: 1}, err //nolint:gosec // a count of messages
	}
	letters, err := s.stream(ctx)
	if err != nil {
		return Part{}, fmt.Errorf("%s dead letters: %w", b.Action, err)
	}
	p, err := b.position(letters.CachedInfo().State)
	if err != nil {
		return Part{}, err
	}
	seqs, after := b.Seqs, p.last+1
	if len(b.Seqs) == 0 {
		if seqs, after, err = s.choose(ctx, letters, &b.Filter, p); err != nil {
			return Part{}, fmt.Errorf("%s dead letters: %w", b.Action, err)
		}
	} else {
		seqs = seqs[p.next:]
		if len(seqs) > maxPart {
			seqs, after = seqs[:maxPart], p.next+maxPart
		}
	}
	part := Part{Failed: []Failure{}}
	done, err := s.runPart(ctx, b.Action, seqs, &part)
	switch {
	case err != nil:
		return Part{}, err
	case done == len(seqs):
		p.next = after
	case len(b.Seqs) > 0:
		p.next += uint64(done) //nolint:gosec // a count
	default:
		p.next = seqs[done]
	}
	part.Progress, part.Next = p.progress(), p.String()
	return part, nil
}

// runPart returns how many of the dead letters it has come to. It stops at an error that the next one would meet too. If
// that was the first one, it returns the error.
func (s *Store) runPart(ctx context.Context, a Action, seqs []uint64, part *Part) (done int, err error) {
	until := time.Now().Add(partTime)
	for i, seq := range seqs {
		if i > 0 && time.Now().After(until) {
			return i, nil
		}
		if a == ActionPurge {
			err = s.Delete(ctx, seq)
		} else {
			_, err = s.Replay(ctx, seq)
		}
		var refused *RefusedError
		switch {
		case err == nil:
			part.Done++
		case errors.Is(err, ErrNotFound):
			part.Gone++
		case errors.As(err, &refused):
			part.Failed = append(part.Failed, Failure{seq, refused.Error()})
		case errors.Is(err, ErrUncertain):
			part.Failed = append(part.Failed, Failure{seq, err.Error()})
		case i == 0:
			return 0, err
		default:
			return i, nil
		}
	}
	return len(seqs), nil
}

// choose returns the dead letters of the next part of a run over a filter, and where the part after it begins.
func (s *Store) choose(ctx context.Context, letters jetstream.Stream, f *Filter, p position) (seqs []uint64, after uint64, err error) {
	until := time.Now().Add(s.lookTime)
	batch := maxBatch
	if f.Community == "" {
		batch = maxPart
	}
	after = p.last + 1
	w := walk{
		store: s, letters: letters, subject: f.subject(), next: p.next, to: p.last, batch: batch,
		visit: func(m *jetstream.RawStreamMsg) bool {
			if f.selects(m) {
				seqs = append(seqs, m.Sequence)
			}
			if len(seqs) == maxPart || time.Now().After(until) {
				after = m.Sequence + 1
				return false
			}
			return true
		},
	}
	err = w.run(ctx)
	return seqs, after, err
}

// position is where a run is: between the first and the last sequence, or index of Seqs, at the next one to be done.
type position struct{ first, next, last uint64 }

// position is where the next part begins.
func (b *Bulk) position(now jetstream.StreamState) (position, error) {
	var p position
	if len(b.Seqs) > 0 {
		p = position{0, 0, uint64(len(b.Seqs) - 1)} //nolint:gosec // not negative
	} else {
		p = position{now.FirstSeq, now.FirstSeq, now.LastSeq}
	}
	if b.Cursor == "" {
		return p, nil
	}
	at := position{}
	n, err := fmt.Sscanf(b.Cursor, "%d.%d.%d", &at.first, &at.next, &at.last)
	ofAnother := at.last > p.last || len(b.Seqs) > 0 && at.last != p.last // or of a stream that was deleted since
	if err != nil || n != 3 || at.String() != b.Cursor || ofAnother {
		return p, &QueryError{"cursor", "is not one that this run has returned; begin again without it"}
	}
	return at, nil
}

// String is the cursor, "" at the end.
func (p position) String() string {
	if p.next > p.last || p.next < p.first {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", p.first, p.next, p.last)
}

func (p position) progress() float64 {
	if p.next > p.last {
		return 1
	}
	return float64(p.next-p.first) / float64(p.last-p.first+1)
}
