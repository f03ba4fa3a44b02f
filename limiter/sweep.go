package limiter

import (
	"context"
	"sync"
	"time"

	"arrakis/limiter/redisscript"
)

const (
	// maxSwept is how many large keys a process remembers to sweep. Redis deletes the others when they expire.
	maxSwept = 1024
	// sweepCalls is how many keys are swept in one round trip.
	sweepCalls = 64
)

// sweeper knows the keys with large limits that this process has admitted messages of. Redis frees a key that expires
// at once, unless it is set to lazyfree-lazy-expire, and stands still for that time: a millisecond for each few
// thousand members. So a large key expires a minute late, and before that the processes unlink it, which frees it in
// the background.
type sweeper struct {
	mu  sync.Mutex // protects due
	due map[string]sweep
}

// sweep says when a key is to be swept, on the process's monotonic clock since the limiter was made.
type sweep struct {
	limit Limit
	at    time.Duration
}

// note puts the sweep of the answered calls' large keys off until their newest admission has left the window.
func (s *sweeper) note(calls []*call, now time.Duration) {
	for _, c := range calls {
		if c.limit.highest() > maxLog && c.err == nil {
			s.add(c.window.key, sweep{limit: c.limit, at: now + c.limit.longest()})
		}
	}
}

// add adds a key, if there is room.
func (s *sweeper) add(key string, w sweep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.due[key]; !ok && len(s.due) >= maxSwept {
		return
	}
	if s.due == nil {
		s.due = make(map[string]sweep)
	}
	s.due[key] = w
}

// take removes and returns some of the keys that are due.
func (s *sweeper) take(now time.Duration) map[string]sweep {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := make(map[string]sweep)
	for key, w := range s.due {
		if w.at <= now && len(taken) < sweepCalls {
			taken[key] = w
			delete(s.due, key)
		}
	}
	return taken
}

// sweep sweeps the large keys whose admissions have left the window. What fails is left to the expiry of the key.
func (l *Limiter) sweep(ctx context.Context) {
	now := l.sinceStart(l.now())
	due := l.sweeper.take(now)
	clock := l.clockArg()
	calls := make([]*redisscript.Call, 0, len(due))
	keys := make([]string, 0, len(due))
	for key, w := range due {
		if l.health.KeyAway(l.o.Prefix + key) {
			continue // it expires
		}
		c := new(redisscript.Call)
		c.Prepare(l.scripts.sweep, l.o.Prefix+key, w.limit.Window.Milliseconds(), clock)
		calls, keys = append(calls, c), append(keys, key)
	}
	if len(calls) == 0 || redisscript.Run(ctx, l.rdb, l.health, calls) != nil {
		return
	}
	for i, c := range calls {
		if left, err := c.Cmd.Int64(); err == nil && left > 0 { // admitted by another process
			limit := due[keys[i]].limit
			l.sweeper.add(keys[i], sweep{limit: limit, at: now + time.Duration(left)*time.Millisecond})
		}
	}
}
