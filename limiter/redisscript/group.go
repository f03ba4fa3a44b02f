package redisscript

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
)

// maxTrip is how many calls of a [Group] share a round trip at most.
const maxTrip = 256

// Group lets callers that do not know of each other share round trips. It makes one at a time: a caller that finds none
// under way makes it for all that wait, and meanwhile the next calls gather. So a single call waits for nobody, and
// under load few round trips serve many callers. A Group has no goroutine of its own, and as many calls wait as callers.
//
// Calls reach a node in the order in which they were queued, but for a script that the node does not know. A call may
// be run more than once, so it must be one that can be repeated. A Group is safe for concurrent use.
type Group struct {
	rdb    redis.UniversalClient
	health *redishealth.Health
	turn   chan struct{} // size 1: whoever has put one in makes the round trip

	mu      sync.Mutex // protects waiting, and left of each member
	waiting []*member
}

// member is a call of a caller that waits.
type member struct {
	call *Call
	err  error         // set before done is closed
	done chan struct{} // closed when the call has ended
	left bool          // the caller does not wait any more
}

// NewGroup returns a Group on the given client.
func NewGroup(rdb redis.UniversalClient, health *redishealth.Health) *Group {
	return &Group{rdb: rdb, health: health, turn: make(chan struct{}, 1)}
}

// Run runs a call that was prepared. Errors:
//   - ctx's, if ctx has ended. The call may have been run, or be under way: it must not be used again.
//   - [redishealth.ErrAway] if the key's node is away, joined with the call's error if the call has found that out.
//   - The call's error otherwise, [redis.Nil] too.
func (g *Group) Run(ctx context.Context, c *Call) error {
	m := &member{call: c, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	g.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			g.leave(m)
			return err
		}
		select {
		case <-m.done:
			return m.err
		case <-ctx.Done():
		case g.turn <- struct{}{}:
			select {
			case <-m.done: // the turn is for somebody else
			default:
				g.trip(ctx)
			}
			<-g.turn
		}
	}
}

// leave takes a call that is not under way out of the queue.
func (g *Group) leave(m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.left = true
	if i := slices.Index(g.waiting, m); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
}

// trip makes a round trip for those that have waited longest. If ctx ends before all answers are there, none of them has
// ended: somebody else makes the round trip again. The caller must have the turn.
func (g *Group) trip(ctx context.Context) {
	members := g.take()
	calls := make([]*Call, 0, len(members))
	for _, m := range members {
		if m.call.Cmd = nil; !g.health.KeyAway(m.call.RedisKey) {
			calls = append(calls, m.call)
		}
	}
	if len(calls) > 0 {
		if err := Run(ctx, g.rdb, g.health, calls); err != nil {
			g.putBack(members)
			return
		}
	}
	for _, m := range members {
		m.err = m.call.outcome()
		close(m.done)
	}
}

func (g *Group) take() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxTrip)
	members := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	return members
}

func (g *Group) putBack(members []*member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	members = slices.DeleteFunc(members, func(m *member) bool { return m.left })
	g.waiting = append(members, g.waiting...)
}

// outcome is what Group.Run says of a call that has ended.
func (c *Call) outcome() error {
	if c.Cmd == nil { // not sent
		return redishealth.ErrAway
	}
	err := c.Cmd.Err()
	if redishealth.ServerFailed(err) {
		return fmt.Errorf("%w: %w", redishealth.ErrAway, err)
	}
	return err
}
