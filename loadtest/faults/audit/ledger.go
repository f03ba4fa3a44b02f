package audit

import (
	"slices"
	"strings"
	"sync"
)

// Ending is a way in which a message can end.
type Ending uint8

// The endings, in the order in which the first counts if a message has several.
const (
	Handled      Ending = iota // a handler ran and succeeded
	Refused                    // a handler ran and answered with a 4xx
	DeadLettered               // a dead letter is stored
	Failed                     // the sender was told that the handler failed, or that there is none, and no dead letter is stored
	Limited                    // the sender was told that the limit is used up
	Expired                    // the sender was told that the message is too old
	Unavailable                // the sender was told 503: limits cannot be checked now, under the policy closed, or there is too much work
	Dropped                    // arrakis has counted it in arrakis_unread_dropped_total
	Unfinished                 // it is still stored, though there was time to end it
	Lost                       // nothing is known of it
	NumEndings   = iota
)

var endingNames = [NumEndings]string{
	"handled", "refused", "dead-lettered", "failed", "limited", "expired", "told 503", "counted as dropped", "unfinished", "lost",
}

// String returns the ending as tables show it.
func (e Ending) String() string { return endingNames[e] }

// Message is what the sender of a message knows of it.
type Message struct {
	ID      string
	Stream  string // the stream that it is published to
	Replies bool   // it names an inbox of the run for its outcome
	// Reason is the reason of the dead letter that the message must end as. With "", the message may end in any way, but
	// not as a dead letter for what is wrong with others.
	Reason string
}

// Ledger holds what is known of every message. Its methods are safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex // protects the fields below
	messages map[string]*entry
	dropped  map[string]uint64 // by stream, as arrakis has counted
}

type entry struct {
	Message
	acknowledged bool
	begun        int   // runs of its handler
	written      int64 // how long the append-only file of Redis was when the first run began
	repeated     int   // runs that began after a run had succeeded or answered with a 4xx
	endings      set
	answered     bool // a worker has sent an answer
	told         bool // an answer has reached the sender
	reasons      []string
}

// set is a set of endings.
type set uint16

func (s set) has(e Ending) bool { return s&(1<<e) != 0 }
func (s set) with(e Ending) set { return s | 1<<e }
func (s set) several() bool     { return s&(s-1) != 0 }
func (s set) first() (e Ending) {
	for !s.has(e) {
		e++
	}
	return e
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{messages: map[string]*entry{}, dropped: map[string]uint64{}}
}

// Publish notes a message, before it is sent for the first time.
func (l *Ledger) Publish(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[m.ID] = &entry{Message: m}
}

// note calls f with the entry of a message. A message that the run has not published is ignored.
func (l *Ledger) note(id string, f func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.messages[id]; e != nil {
		f(e)
	}
}

// Acknowledge notes that a message is stored, as the server has told its sender.
func (l *Ledger) Acknowledge(id string) { l.note(id, func(e *entry) { e.acknowledged = true }) }

// Begin notes that a handler begins to run, and how long the append-only file of Redis is then. It returns which run of
// the message's handler it is, from 1.
func (l *Ledger) Begin(id string, written int64) (run int) {
	l.note(id, func(e *entry) {
		if e.begun == 0 {
			e.written = written
		}
		if e.endings.has(Handled) || e.endings.has(Refused) {
			e.repeated++
		}
		e.begun++
		run = e.begun
	})
	return run
}

// End notes how a message has ended: Handled or Refused by its handler, before the handler answers.
func (l *Ledger) End(id string, how Ending) {
	l.note(id, func(e *entry) { e.endings = e.endings.with(how) })
}

// Answer notes an answer that a worker sends, with its status and the code of its error, 0 for none.
func (l *Ledger) Answer(id, status string, code int) {
	l.note(id, func(e *entry) {
		e.answered = true
		e.endings |= meaning(status, code)
	})
}

// Tell notes an answer that has reached the sender.
func (l *Ledger) Tell(id, status string, code int) {
	l.note(id, func(e *entry) {
		e.told = true
		e.endings |= meaning(status, code)
	})
}

// meaning is the ending that an answer stands for by itself. That a handler has run is the handler's to say, and that
// a dead letter exists is the stream's. A worker that tells of a failure does not try the message again.
func meaning(status string, code int) (s set) {
	switch {
	case status == "rate_limited":
		return s.with(Limited)
	case status == "expired":
		return s.with(Expired)
	case status == "error" && code == 503:
		return s.with(Unavailable)
	case status == "error" && code >= 500:
		return s.with(Failed)
	}
	return s
}

// DeadLetter notes a dead letter.
func (l *Ledger) DeadLetter(id, reason string) {
	l.note(id, func(e *entry) {
		e.endings = e.endings.with(DeadLettered)
		if !slices.Contains(e.reasons, reason) {
			e.reasons = append(e.reasons, reason)
		}
	})
}

// StillStored notes a message that its stream still holds at the end.
func (l *Ledger) StillStored(id string) {
	l.note(id, func(e *entry) { e.endings = e.endings.with(Unfinished) })
}

// Drop notes how many messages arrakis has counted as dropped unread from a stream, in the whole run.
func (l *Ledger) Drop(stream string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped[stream] = n
}

// Acknowledged returns how many publishes are acknowledged so far, and how many handlers have begun to run.
func (l *Ledger) Acknowledged() (acknowledged, begun int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.messages {
		if e.acknowledged {
			acknowledged++
		}
		begun += e.begun
	}
	return acknowledged, begun
}

// Begun reports whether a handler has run for a message.
func (l *Ledger) Begun(id string) (begun bool) {
	l.note(id, func(e *entry) { begun = e.begun > 0 })
	return begun
}

// FirstRun returns how long the append-only file of Redis was when a handler first began to run for a message, and
// whether one has.
func (l *Ledger) FirstRun(id string) (written int64, begun bool) {
	l.note(id, func(e *entry) { written, begun = e.written, e.begun > 0 })
	return written, begun
}

// Result is how all messages have ended.
type Result struct {
	Published    int // messages, of which each is published until it is acknowledged
	Acknowledged int
	Endings      [NumEndings]int // of acknowledged messages, each once
	Reasons      map[string]int  // dead letters by reason

	Repeated   int // handler runs that began after the same message had been handled or refused
	Retried    int // handler runs beyond the first that are not repeats
	TwoEndings int // messages that have ended in more than one way, of which at least once delivery is the cause
	Untold     int // messages whose answer a worker has sent, and which the sender has not received

	Lost  []string // IDs
	Wrong []string // messages without the dead letter that they had to become, or with one that they give no cause for; as sentences
}

// Result sums up.
func (l *Ledger) Result() Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Result{Published: len(l.messages), Reasons: map[string]int{}}
	missing := map[string][]string{} // by stream
	for id, e := range l.messages {
		if !e.acknowledged {
			continue
		}
		r.Acknowledged++
		r.Repeated += e.repeated
		r.Retried += max(0, e.begun-1-e.repeated)
		if e.answered && e.Replies && !e.told {
			r.Untold++
		}
		for _, reason := range e.reasons {
			r.Reasons[reason]++
		}
		if wrong := e.wrong(); wrong != "" {
			r.Wrong = append(r.Wrong, wrong)
		}
		if e.endings == 0 {
			missing[e.Stream] = append(missing[e.Stream], id)
			continue
		}
		ended := e.endings &^ (1<<Unfinished | 1<<Unavailable) // who is told to try again may do so
		if ended.has(DeadLettered) {
			ended &^= 1 << Failed // of which the sender is told as well
		}
		if ended.several() {
			r.TwoEndings++
		}
		r.Endings[e.endings.first()]++
	}
	for stream, ids := range missing {
		slices.Sort(ids)
		counted := min(len(ids), int(min(l.dropped[stream], 1<<30)))
		r.Endings[Dropped] += counted
		r.Endings[Lost] += len(ids) - counted
		r.Lost = append(r.Lost, ids[counted:]...)
	}
	slices.Sort(r.Lost)
	slices.Sort(r.Wrong)
	return r
}

// wrong says what is wrong with the dead letters of a message, "" for nothing.
func (e *entry) wrong() string {
	if e.Reason != "" && !slices.Contains(e.reasons, e.Reason) {
		return e.ID + " must be a dead letter " + e.Reason + ", and is " + describe(e)
	}
	for _, reason := range e.reasons {
		switch {
		case reason == "attempts_exhausted": // faults can fail a message again and again, whatever is in it
		case reason != e.Reason:
			return e.ID + " gives no cause for its dead letter " + reason
		}
	}
	return ""
}

func describe(e *entry) string {
	switch {
	case len(e.reasons) > 0:
		return "one of " + strings.Join(e.reasons, " and ")
	case e.endings == 0:
		return "lost"
	}
	return e.endings.first().String()
}
