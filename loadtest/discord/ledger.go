package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

// ending is how an interaction ended, as its user sees it.
type ending int

// The endings. From lostFrom on, the user got no answer though arrakis had the interaction.
const (
	inline     ending = iota // the answer was in the request
	edited                   // deferred; the answer came later
	callback                 // the answer came by a callback
	refused                  // over its limit, and told when to try again
	wrong                    // told an error, or something else than the answer
	unstored                 // the connection broke before it was stored: no worker ever had it
	unanswered               // the connection broke after it was stored, and nobody answered in time
	late                     // no answer within Discord's three seconds
	against                  // the answer broke another rule of Discord
	unfinished               // deferred, and no answer until the end of the run
	numEndings

	lostFrom = unanswered
)

// endingNames are what the report says.
var endingNames = [numEndings]string{
	"answered inline", "deferred, then edited", "answered by a callback", "refused, with the time to try again",
	"told an error, or another's answer", "connection broken by a kill, never stored",
	"connection broken by a kill, stored, no answer in time", "no answer within 3 s", "answered against the rules",
	"no answer until the end of the run",
}

// entry is what is known of an interaction.
type entry struct {
	id       string
	class    class
	took     time.Duration // from when it was due to the answer to its request; 0 if there was none, or one against the rules
	deferred bool          // by that answer
	broken   bool          // the connection broke
	late     bool          // there was no answer in time
	rule     string        // of Discord that was broken; "" if none was
	stored   bool          // it was published for COMMANDS, or may have been
	runs     int           // of handlers
	ended    fakediscord.Ended
}

// retryTime is how Discord's clients show when something may be tried again.
var retryTime = regexp.MustCompile(`<t:\d+:R>`)

// ending is how the interaction has ended so far.
func (e *entry) ending() ending {
	switch e.ended.How {
	case fakediscord.Inline, fakediscord.Callback, fakediscord.Edited:
		return e.answered()
	}
	switch {
	case e.broken && !e.stored && e.runs == 0:
		return unstored
	case e.broken:
		return unanswered
	case e.rule == "":
		return unfinished
	case e.late:
		return late
	default:
		return against
	}
}

// answered is the ending of an interaction that has an answer.
func (e *entry) answered() ending {
	var message struct{ Content string }
	_ = json.Unmarshal(e.ended.Message, &message) // what is no message has no content
	switch {
	case message.Content == "pong "+e.id:
	case e.class == over && retryTime.MatchString(message.Content) && (e.ended.Ephemeral || e.ended.How == fakediscord.Edited):
		return refused // after a deferral, which another worker's death can cause, it is too late for ephemeral
	default:
		return wrong
	}
	switch e.ended.How {
	case fakediscord.Inline:
		return inline
	case fakediscord.Callback:
		return callback
	default:
		return edited
	}
}

// first is the time from when the interaction was due to its first answer, a deferral too; 0 if there was none.
func (e *entry) first() time.Duration {
	if e.took == 0 && e.ended.How == fakediscord.Callback {
		return e.ended.After
	}
	return e.took
}

// describe says what an interaction that was not answered well has come to.
func (e *entry) describe() string {
	return fmt.Sprintf("%s: answered after %v, %d handler runs; rule %q; then %q after %v: %.300s",
		e.id, e.took.Round(time.Millisecond), e.runs, e.rule, e.ended.How, e.ended.After.Round(time.Millisecond), e.ended.Message)
}

// ledger follows interactions to their ends. Its methods are safe for concurrent use. It does not know interactions that
// were not added, and ignores them.
type ledger struct {
	tapped bool // what is published for COMMANDS is told; if not, all of it counts as stored; read-only

	mu      sync.Mutex // protects the field below and its entries
	entries map[string]*entry
}

func newLedger(tapped bool) *ledger { return &ledger{tapped: tapped, entries: map[string]*entry{}} }

// add adds an interaction that is going to be sent.
func (l *ledger) add(id string, c class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[id] = &entry{id: id, class: c, stored: !l.tapped}
}

// note changes an entry.
func (l *ledger) note(id string, change func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[id]; e != nil {
		change(e)
	}
}

func (l *ledger) stored(id string) { l.note(id, func(e *entry) { e.stored = true }) }

func (l *ledger) ran(id string) { l.note(id, func(e *entry) { e.runs++ }) }

func (l *ledger) ended(ended fakediscord.Ended) { l.note(ended.ID, func(e *entry) { e.ended = ended }) }

// delivered notes what became of a request, took after the interaction was due.
func (l *ledger) delivered(sent fakediscord.Sent, err error, took time.Duration) {
	rule := (*fakediscord.RuleError)(nil)
	if err != nil && !errors.As(err, &rule) {
		return // the run has ended
	}
	l.note(sent.ID, func(e *entry) {
		switch {
		case rule != nil:
			e.rule, e.broken, e.late = rule.Rule, rule.Broken, rule.Late
		case sent.Status == 0:
			e.broken = true // and then a callback came
		default:
			e.took, e.deferred = took, sent.Response.Type == 5 || sent.Response.Type == 6
		}
	})
}
