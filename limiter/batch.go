package limiter

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"arrakis/limiter/redishealth"
)

// Request is one message that asks for one permit.
type Request struct {
	// Window is the key's local state. Requests of one key in one batch share the Window.
	Window *Window
	// Limit is the limit in force for the key. Requests of one key may carry different ones.
	Limit Limit
	// ID is the message's event ID. An ID is charged once. It must not be empty or begin with a byte of 1, which is
	// kept for what sub-windows have in the same sorted set.
	ID string
	// Repeated says that the message was delivered before. It may hold its permit already, so Redis is always asked.
	Repeated bool
	// Verdict is set by AllowBatch.
	Verdict Verdict
}

// validate reports all faults of the request at once.
func (r *Request) validate() error {
	if r.Window == nil {
		return errors.New("request without a window")
	}
	var badID error
	switch {
	case r.ID == "":
		badID = errors.New("no event ID")
	case r.ID[0] == subWindowMark:
		badID = fmt.Errorf("event ID %q begins with a byte of 1", r.ID)
	}
	if err := errors.Join(badID, r.Limit.Validate()); err != nil {
		return fmt.Errorf("key %q: %w", r.Window.key, err)
	}
	return nil
}

// call holds a batch's requests of one key and limit.
type call struct {
	scriptCall
	window *Window
	limit  Limit
	millis int64      // the limit's window
	reqs   []*Request // in order of arrival
	err    error      // an error of this key alone, unless unseen is true
	unseen bool       // Redis has not answered: admissions must be merged into Redis later
}

// round holds the calls of one batch. It is reused, so that a batch allocates little.
type round struct {
	calls    []*call // calls[:n] are in use
	n        int
	messages int // in all calls
	scripts  []*scriptCall
}

var rounds = sync.Pool{New: func() any { return new(round) }}

// inUse returns the calls of this batch.
func (r *round) inUse() []*call { return r.calls[:r.n] }

// add puts the request into the call of its key and limit. A call that is full is followed by another one.
func (r *round) add(req *Request) {
	c := req.Window.call
	if c == nil || c.limit != req.Limit || len(c.reqs) == callIDs(req.Limit) {
		if r.n == len(r.calls) {
			r.calls = append(r.calls, new(call))
		}
		c = r.calls[r.n]
		r.n++
		c.window, c.limit, c.millis = req.Window, req.Limit, req.Limit.Window.Milliseconds()
		c.unseen = true
		req.Window.call = c
	}
	c.reqs = append(c.reqs, req)
	r.messages++
}

// prepare makes the script calls for the round trip.
func (r *round) prepare(allow script, prefix, clock string) []*scriptCall {
	for _, c := range r.inUse() {
		c.prepare(allow, prefix+c.window.key)
		c.args = append(c.args, &c.limit.Max, &c.millis, clock)
		for _, req := range c.reqs {
			c.args = append(c.args, &req.ID) // a pointer: boxing the string would allocate
		}
		r.scripts = append(r.scripts, &c.scriptCall)
	}
	return r.scripts
}

// recycle clears the round for another batch.
func (r *round) recycle() {
	for _, c := range r.inUse() {
		c.window.call = nil
		clear(c.reqs)
		clear(c.args)
		*c = call{scriptCall: scriptCall{args: c.args[:0]}, reqs: c.reqs[:0]}
	}
	clear(r.scripts)
	r.scripts, r.n, r.messages = r.scripts[:0], 0, 0
	rounds.Put(r)
}

// applyReply sets the verdicts of a call from its reply. If the reply is an error, it sets the call's error.
func (c *call) applyReply(sent, received time.Time) {
	reply, err := c.windowReply(len(c.reqs), c.limit.Window)
	if c.err, c.unseen = err, redishealth.ServerFailed(err); err != nil {
		return
	}
	s := reply.standing
	c.window.learn(c.limit, s, sent, received)
	used := s.count
	for i := range c.reqs {
		if reply.verdicts[i] == replyCharged {
			used--
		}
	}
	for i, req := range c.reqs {
		v := Verdict{Limit: c.limit.Max, ResetAfter: s.resetAfter}
		switch reply.verdicts[i] {
		case replyCharged:
			used++
			v.Allowed, v.Charged = true, true
		case replyHeld:
			v.Allowed = true
		default:
			v.RetryAfter = s.retryAfter
		}
		v.Remaining = max(0, c.limit.Max-used)
		req.Verdict = v
	}
}

// clockArg returns the scripts' clock argument: "" for the server's own TIME.
func (l *Limiter) clockArg() string {
	if l.clock == nil {
		return ""
	}
	return strconv.FormatInt(l.clock(), 10)
}
