package idempotency

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
)

const (
	// maxQueued is how many calls wait for the next round trips; callers of further ones wait for room.
	maxQueued = 16_384
	// maxBatch is how many calls share a round trip at most.
	maxBatch = 256
	// finish is how long Run makes further round trips after its context has ended, because Redis may not answer.
	finish = 250 * time.Millisecond
)

//go:embed begin.lua
var beginSource string

//go:embed put.lua
var putSource string

//go:embed index.lua
var indexSource string

// The scripts. A *redis.Script is immutable.
var (
	beginScript = redis.NewScript(beginSource)
	putScript   = redis.NewScript(putSource)
	indexScript = redis.NewScript(indexSource)
)

// What begin.lua returns, beside the state of a record, and what put.lua is told to do.
const (
	replyNew      = "new"
	replyAgain    = "again"
	replyMismatch = "mismatch"
	putKeep       = "keep"
	putForget     = "forget"
	putRenew      = "renew"
)

// call is one call of a script on its way to Redis and back. The sender sets it, Run answers it.
type call struct {
	script *redis.Script // nil deletes the key
	key    string
	args   []any // after the key

	cmd   *redis.Cmd    // with the reply
	err   error         // why there is no reply
	ended chan struct{} // closed by Run when cmd and err are set; nil if nobody waits
}

// put queues calls. Run answers them in this order.
func (s *Store) put(ctx context.Context, calls ...*call) {
	for _, c := range calls { // one by one, to know which of them Run will not see
		if err := s.calls.Put(ctx, c); err != nil {
			c.end(err)
		}
	}
}

func (c *call) end(err error) {
	c.err = err
	if c.ended != nil {
		close(c.ended)
	}
}

// begin calls begin.lua and waits for its reply.
func (s *Store) begin(ctx context.Context, m *Mark) (string, error) {
	c := m.call(beginScript, m.fingerprint, running+m.token, s.o.Lease.Milliseconds())
	s.put(ctx, c)
	<-c.ended
	if c.err != nil {
		return "", c.err
	}
	return c.cmd.Text()
}

// Run answers calls until ctx ends and no call waits. If Redis does not answer then, Run returns after the round trip
// under way, and the calls fail as if Redis were away, like those after Run. Run may be called once.
func (s *Store) Run(ctx context.Context) {
	var renewing sync.WaitGroup
	defer renewing.Wait()
	renewing.Go(func() {
		defer s.calls.Close()
		s.renew(ctx)
	})
	lasting, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finish, giveUp) })()
	var batch []*call
	var deletes []*call // sent along with what comes next
	for {
		var ok bool
		if batch, ok = s.calls.Take(batch); !ok {
			return
		}
		for rest := batch; len(rest) > 0; {
			n := min(len(rest), maxBatch)
			deletes = s.roundTrip(lasting, append(deletes, rest[:n]...))
			rest = rest[n:]
		}
	}
}

// renew renews the marks of requests that run for long, until ctx ends.
func (s *Store) renew(ctx context.Context) {
	every := s.o.Lease / 4
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, m := range s.memory.due(now.Add(-every), now) {
				c := m.call(putScript, m.value(), putRenew, s.o.Lease.Milliseconds())
				c.ended = nil
				s.put(ctx, c)
			}
		}
	}
}

// roundTrip sends the calls in one round trip, and again those that failed because of the server. It returns the
// deletions that follow from the replies.
func (s *Store) roundTrip(ctx context.Context, calls []*call) (deletes []*call) {
	failed := calls
	for range redishealth.Attempts {
		if failed = s.attempt(ctx, failed); len(failed) == 0 {
			break
		}
	}
	for _, c := range calls {
		switch {
		case c.cmd == nil:
			c.end(redishealth.ErrAway)
		case c.cmd.Err() != nil:
			c.end(fmt.Errorf("key %s: %w", c.key, c.cmd.Err()))
		default:
			if c.script == indexScript {
				deletes = append(deletes, c.deletes()...)
			}
			c.end(nil)
		}
	}
	return deletes
}

// attempt makes one round trip, and a second one for scripts that Redis does not know yet. It returns the calls that
// failed because of the server. Calls whose node is away are not sent.
func (s *Store) attempt(ctx context.Context, calls []*call) (failed []*call) {
	sent := slices.DeleteFunc(slices.Clone(calls), func(c *call) bool { return s.o.Health.KeyAway(c.key) })
	if len(sent) == 0 {
		return nil
	}
	began := time.Now()
	_ = s.o.Health.Trip(ctx, func(ctx context.Context, trip *redishealth.Trip) { // fails if ctx ends; the calls then say it
		s.send(ctx, sent, (*call).evalSHA)
		var unknown []*call
		for _, c := range sent {
			if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
				unknown = append(unknown, c)
			}
		}
		if len(unknown) > 0 {
			s.send(ctx, unknown, (*call).eval)
		}
		for _, c := range sent {
			if trip.Note(c.key, c.cmd.Err()) {
				failed = append(failed, c)
			}
		}
	})
	s.metrics.roundTrip.Observe(time.Since(began).Seconds())
	return failed
}

// send sends calls in one pipeline.
func (s *Store) send(ctx context.Context, calls []*call, command func(*call, context.Context) *redis.Cmd) {
	pipe := s.rdb.Pipeline()
	for _, c := range calls {
		c.cmd = command(c, ctx)
		if err := pipe.Process(ctx, c.cmd); err != nil {
			c.cmd.SetErr(err)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		for _, c := range calls {
			if c.cmd.Err() == nil && c.cmd.Val() == nil {
				c.cmd.SetErr(err) // the client gave up before this command
			}
		}
	}
}

const firstKeyPos = 3 // in EVALSHA and EVAL

func (c *call) evalSHA(ctx context.Context) *redis.Cmd {
	if c.script == nil {
		return redis.NewCmd(ctx, "unlink", c.key)
	}
	return c.command(ctx, "evalsha", c.script.Hash())
}

func (c *call) eval(ctx context.Context) *redis.Cmd { return c.command(ctx, "eval", sources[c.script]) }

func (c *call) command(ctx context.Context, name, script string) *redis.Cmd {
	cmd := redis.NewCmd(ctx, append([]any{name, script, 1, c.key}, c.args...)...)
	cmd.SetFirstKeyPos(firstKeyPos)
	return cmd
}

var sources = map[*redis.Script]string{beginScript: beginSource, putScript: putSource, indexScript: indexSource}

// deletes are the deletions of the records that index.lua took out of the index.
func (c *call) deletes() []*call {
	entries, err := c.cmd.Slice()
	if err != nil {
		return nil // unexpected, and the records expire
	}
	community := strings.TrimPrefix(c.key, indexPrefix)
	var deletes []*call
	var last string
	for i := 0; i < len(entries); i += 2 { // each is followed by its score
		entry, _ := entries[i].(string)
		end := strings.LastIndexByte(entry, ':')
		if end < 0 || entry[:end] == last {
			continue // the KiB of an answer are neighbours
		}
		last = entry[:end]
		deletes = append(deletes, &call{key: recordKey(community, last)})
	}
	return deletes
}
