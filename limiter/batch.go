package limiter

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
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
	redisscript.Call
	window *Window
	limit  Limit
	text   string     // the limit as the script takes it, if it has a boost
	millis int64      // the limit's window
	reqs   []*Request // in order of arrival
	err    error      // why there is no answer; nil: there is one, or nobody has asked yet
}

// unanswered reports whether there is no answer. The server may have done what it was asked: the admissions are in
// doubt.
func (c *call) unanswered() bool { return c.err != nil && !unusable(c.err) }

// unusable reports whether the key cannot be used, though the server answers.
func (c *call) unusable() bool { return unusable(c.err) }

// unusable reports whether the error is a server's reply that concerns the key alone.
func unusable(err error) bool {
	if err == nil {
		return false // errors.As would allocate
	}
	return errors.As(err, new(redis.Error)) && !redishealth.ServerFailed(err)
}

// round holds the calls of one batch. It is reused, so that a batch allocates little.
type round struct {
	calls    []*call // calls[:n] are in use
	n        int
	open     []*call // the calls that are not decided yet
	messages int     // in all open calls, when they were prepared
	scripts  []*redisscript.Call
}

var rounds = sync.Pool{New: func() any { return new(round) }}

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
		req.Window.call = c
	}
	c.reqs = append(c.reqs, req)
}

// begin opens all calls. No call is added after that.
func (r *round) begin(prefix string) {
	for _, c := range r.calls[:r.n] {
		c.RedisKey = prefix + c.window.key
		r.open = append(r.open, c)
	}
}

// prepare makes the script calls for a round trip: those of the open calls without an error.
func (r *round) prepare(allow *redisscript.Script, clock string) []*redisscript.Call {
	r.clearScripts()
	for _, c := range r.open {
		if c.Cmd = nil; c.err != nil {
			continue
		}
		var limit any = &c.limit.Max
		if c.limit.Boost > 0 {
			c.text = limitArg(c.limit)
			limit = &c.text
		}
		c.Prepare(allow, c.RedisKey, limit, &c.millis, clock)
		for _, req := range c.reqs {
			c.Append(&req.ID) // a pointer: boxing the string would allocate
		}
		r.scripts = append(r.scripts, &c.Call)
		r.messages += len(c.reqs)
	}
	return r.scripts
}

// clearScripts forgets the script calls of the last round trip.
func (r *round) clearScripts() {
	clear(r.scripts)
	r.scripts, r.messages = r.scripts[:0], 0
}

// keep leaves only the calls open for which decided returns false.
func (r *round) keep(decided func(*call) bool) {
	open := r.open[:0]
	for _, c := range r.open {
		if !decided(c) {
			open = append(open, c)
		}
	}
	clear(r.open[len(open):])
	r.open = open
}

// recycle clears the round for another batch.
func (r *round) recycle() {
	for _, c := range r.calls[:r.n] {
		c.window.call = nil
		clear(c.reqs)
		c.Reset()
		*c = call{Call: c.Call, reqs: c.reqs[:0]}
	}
	clear(r.open)
	r.open, r.n = r.open[:0], 0
	r.clearScripts()
	rounds.Put(r)
}

// applyReply sets the verdicts of a call from its reply, and returns Redis's time in it. If the reply is an error, it
// sets the call's error, and returns 0.
func (c *call) applyReply(sent, received time.Time) (now int64) {
	reply, err := readWindowReply(c.Cmd, len(c.reqs), c.limit)
	if c.err = err; err != nil {
		return 0
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
		v := Verdict{Limit: s.limit, ResetAfter: s.resetAfter}
		switch reply.verdicts[i] {
		case replyCharged:
			used++
			v.Allowed, v.Charged = true, true
		case replyHeld:
			v.Allowed = true
		default:
			v.RetryAfter = s.retryAfter
		}
		v.Remaining = max(0, s.limit-used)
		req.Verdict = v
	}
	return reply.now
}

// clockArg returns the scripts' clock argument: "" for the server's own TIME.
func (l *Limiter) clockArg() string {
	if l.clock == nil {
		return ""
	}
	return strconv.FormatInt(l.clock(), 10)
}
