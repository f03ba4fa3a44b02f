package idempotency

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
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

var (
	beginScript = redisscript.New(beginSource)
	putScript   = redisscript.New(putSource)
	indexScript = redisscript.New(indexSource)
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

// call is one call of a script on its way to Redis and back. The sender prepares it, Run answers it.
type call struct {
	redisscript.Call
	err   error         // why there is no reply
	ended chan struct{} // closed by Run when Cmd and err are set; nil if nobody waits
}

func newCall(script *redisscript.Script, redisKey string, args ...any) *call {
	c := &call{ended: make(chan struct{})}
	c.Prepare(script, redisKey, args...)
	return c
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
	c := newCall(beginScript, m.record, m.fingerprint, running+m.token, s.o.Lease.Milliseconds())
	s.put(ctx, c)
	<-c.ended
	if c.err != nil {
		return "", c.err
	}
	return c.Cmd.Text()
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
				c := newCall(putScript, m.record, m.value(), putRenew, s.o.Lease.Milliseconds())
				c.ended = nil
				s.put(ctx, c)
			}
		}
	}
}

// roundTrip sends the calls in one round trip, and again those that failed because of the server. It returns the
// deletions that follow from the replies.
func (s *Store) roundTrip(ctx context.Context, calls []*call) (deletes []*call) {
	failed := make([]*redisscript.Call, len(calls))
	for i, c := range calls {
		failed[i] = &c.Call
	}
	for range redishealth.Attempts {
		if failed = s.attempt(ctx, failed); len(failed) == 0 {
			break
		}
	}
	for _, c := range calls {
		switch {
		case c.Cmd == nil:
			c.end(redishealth.ErrAway)
		case c.Cmd.Err() != nil:
			c.end(fmt.Errorf("key %s: %w", c.RedisKey, c.Cmd.Err()))
		default:
			deletes = append(deletes, c.deletes()...)
			c.end(nil)
		}
	}
	return deletes
}

// attempt makes one round trip and returns the calls that failed because of the server. Calls whose node is away are
// not sent. It reuses calls.
func (s *Store) attempt(ctx context.Context, calls []*redisscript.Call) (failed []*redisscript.Call) {
	calls = slices.DeleteFunc(calls, func(c *redisscript.Call) bool { return s.o.Health.KeyAway(c.RedisKey) })
	if len(calls) == 0 {
		return nil
	}
	began := time.Now()
	err := redisscript.Run(ctx, s.rdb, s.o.Health, calls)
	s.metrics.roundTrip.Observe(time.Since(began).Seconds())
	if err != nil {
		return nil // ctx has ended; the calls say it
	}
	return slices.DeleteFunc(calls, func(c *redisscript.Call) bool { return !redishealth.ServerFailed(c.Cmd.Err()) })
}

// deletes are the deletions of the records that index.lua took out of the index, if c is a call of it.
func (c *call) deletes() []*call {
	community, isIndex := strings.CutPrefix(c.RedisKey, indexPrefix)
	if !isIndex {
		return nil
	}
	entries, err := c.Cmd.Slice()
	if err != nil {
		return nil // unexpected, and the records expire
	}
	var deletes []*call
	var last string
	for i := 0; i < len(entries); i += 2 { // each is followed by its score
		entry, _ := entries[i].(string)
		end := strings.LastIndexByte(entry, ':')
		if end < 0 || entry[:end] == last {
			continue // the KiB of an answer are neighbours
		}
		last = entry[:end]
		d := new(call)
		d.Unlink(recordKey(community, last))
		deletes = append(deletes, d)
	}
	return deletes
}
