// Package redisscript runs Lua scripts on Redis, many in one round trip. [Run] promises:
//
//   - All calls share one pipelined round trip, on a Cluster one for each node. A node runs its calls in their order.
//   - Calls whose script a server does not know, because it was started again or its scripts were flushed, share a
//     second round trip, which brings the source along. They run after all other calls.
//   - Each call has a reply or an error of its own. What fails for one call fails for no other, unless they share the
//     connection that failed.
//   - Success and failure count for the node that owns the call's key, as package redishealth says. A call whose node
//     is away must not be run: the caller asks [redishealth.Health.KeyAway], and knows what to do without an answer.
//   - A call is run once, except by the client's own retries. Whoever runs it again decides that it may be repeated.
//
// A [Group] gathers the calls of callers that do not know of each other. A single call needs none of this:
// [redis.Script.Run] in [redishealth.Health.DoKey] brings the source along as well.
package redisscript

import (
	"context"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
)

// Script is a script of one key. It is immutable.
type Script struct{ source, hash string }

// New returns the script with the source. It asks no server.
func New(source string) *Script {
	return &Script{source: source, hash: redis.NewScript(source).Hash()}
}

// Call is one run of a script on one key. It can be prepared again, and then uses its memory again. It must not be
// copied between Prepare and the end of Run.
type Call struct {
	RedisKey string     // the whole key, set by Prepare and Command
	Cmd      *redis.Cmd // the reply or the error, set by Run; nil: not sent
	script   *Script    // nil for Command
	args     []any      // the whole command
}

// The positions of EVALSHA's and EVAL's arguments.
const (
	argCommand = iota
	argScript
	_ // number of keys
	argKey
)

// Prepare makes the call one of the script on the key. The arguments may be pointers, which need no memory of their
// own; what they point to must not change until Run has returned.
func (c *Call) Prepare(s *Script, redisKey string, args ...any) {
	c.RedisKey, c.Cmd, c.script = redisKey, nil, s
	c.args = append(c.args[:0], "evalsha", &s.hash, 1, &c.RedisKey)
	c.Append(args...)
}

// Append appends arguments to those of Prepare.
func (c *Call) Append(args ...any) { c.args = append(c.args, args...) }

// Unlink makes the call one that deletes the key, without a script.
func (c *Call) Unlink(redisKey string) { c.Command("unlink", redisKey) }

// Command makes the call one of a command whose first argument is the key, without a script.
func (c *Call) Command(name, redisKey string, args ...any) {
	c.RedisKey, c.Cmd, c.script = redisKey, nil, nil
	c.args = append(c.args[:0], name, &c.RedisKey)
	c.Append(args...)
}

// Reset forgets the call, and keeps its memory for the next one.
func (c *Call) Reset() {
	clear(c.args)
	*c = Call{args: c.args[:0]}
}

// Run runs the calls, within the time that health gives a round trip. An error is ctx's, if ctx has ended and a call
// has no answer; if ctx had ended before, nothing was sent.
func Run(ctx context.Context, rdb redis.UniversalClient, health *redishealth.Health, calls []*Call) error {
	return health.Trip(ctx, func(ctx context.Context, trip *redishealth.Trip) {
		send(ctx, rdb, calls)
		var unknown []*Call
		for _, c := range calls {
			if c.unknown() {
				c.args[argCommand], c.args[argScript] = "eval", &c.script.source
				unknown = append(unknown, c)
			}
		}
		if len(unknown) > 0 {
			send(ctx, rdb, unknown)
		}
		for _, c := range calls {
			trip.Note(c.RedisKey, c.Cmd.Err())
		}
	})
}

// unknown reports whether the server does not know the script.
func (c *Call) unknown() bool {
	err := c.Cmd.Err() // looking into nil would allocate
	return err != nil && c.script != nil && redis.HasErrorPrefix(err, "NOSCRIPT")
}

// send sends the calls as they are in one pipeline.
func send(ctx context.Context, rdb redis.UniversalClient, calls []*Call) {
	pipe := rdb.Pipeline()
	for _, c := range calls {
		c.Cmd = redis.NewCmd(ctx, c.args...)
		if c.script != nil {
			c.Cmd.SetFirstKeyPos(argKey)
		}
		_ = pipe.Process(ctx, c.Cmd) // only queues
	}
	if _, err := pipe.Exec(ctx); err != nil {
		for _, c := range calls {
			if c.Cmd.Err() == nil && c.Cmd.Val() == nil { // nil as a reply is the error redis.Nil
				c.Cmd.SetErr(err) // the client gave up before this command
			}
		}
	}
}
