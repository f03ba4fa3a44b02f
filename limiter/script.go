package limiter

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed allow.lua
var allowSource string

//go:embed peek.lua
var peekSource string

//go:embed merge.lua
var mergeSource string

// The scripts. A *redis.Script is immutable.
var (
	allowScript = redis.NewScript(allowSource)
	peekScript  = redis.NewScript(peekSource)
	mergeScript = redis.NewScript(mergeSource)
)

// replyError means that a reply does not have the form of the scripts' replies. It is a [redis.Error], because the
// server did answer.
type replyError string

func (e replyError) Error() string { return "unexpected reply of a script: " + string(e) }

func (replyError) RedisError() {}

// badReply returns a replyError.
func badReply(format string, args ...any) error { return replyError(fmt.Sprintf(format, args...)) }

// scriptCall is one run of a script on one key, as part of a pipeline.
type scriptCall struct {
	redisKey string // with the prefix
	args     []any  // EVALSHA and its arguments; they may point into the owner, which must outlive the round trip
	cmd      *redis.Cmd
}

// argument positions of EVALSHA and EVAL.
const (
	argCommand = iota
	argScript
	argKeys
	argKey
	argFirst
)

// prepare sets the arguments up to the key. The caller appends the script's arguments. prepare reuses args.
func (c *scriptCall) prepare(script *redis.Script, redisKey string) {
	c.redisKey, c.cmd = redisKey, nil
	c.args = append(c.args[:0], "evalsha", script.Hash(), 1, &c.redisKey)
}

// exec runs all calls in one pipelined round trip. ctx must have a deadline. Each call's result or error is in its cmd;
// exec itself cannot fail. Calls whose script the server does not know are run again with the source of the script.
func (l *Limiter) exec(ctx context.Context, script *redis.Script, source string, calls []*scriptCall) {
	l.pipeline(ctx, calls)
	var unknown []*scriptCall
	for _, c := range calls {
		if errors.Is(c.cmd.Err(), redis.ErrNoScript) || redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			c.args[argCommand], c.args[argScript] = "eval", source
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return
	}
	l.o.Logger.DebugContext(ctx, "script sent again", "script", script.Hash(), "calls", len(unknown))
	l.pipeline(ctx, unknown)
}

// pipeline sends the calls as they are.
func (l *Limiter) pipeline(ctx context.Context, calls []*scriptCall) {
	pipe := l.rdb.Pipeline()
	for _, c := range calls {
		c.cmd = redis.NewCmd(ctx, c.args...)
		c.cmd.SetFirstKeyPos(argKey)
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

// windowReply is the reply of allow.lua and peek.lua, checked.
type windowReply struct {
	verdicts string // a verdict character for each ID
	standing standing
}

// The verdict characters of allow.lua.
const (
	replyRejected = '0'
	replyCharged  = '1'
	replyHeld     = '2'
)

// windowReply returns the checked reply to a call about ids IDs. An error is Redis's, or a replyError.
func (c *scriptCall) windowReply(ids int, window time.Duration) (windowReply, error) {
	reply, err := c.cmd.Result()
	if err != nil {
		return windowReply{}, err
	}
	fields, ok := reply.([]any)
	if !ok || len(fields) != 5 {
		return windowReply{}, badReply("%T is not five fields", reply)
	}
	verdicts, ok := fields[0].(string)
	if !ok || len(verdicts) != ids {
		return windowReply{}, badReply("%T is not %d verdicts", fields[0], ids)
	}
	var n [4]int64 // count, now, oldest, freeing
	for i, f := range fields[1:] {
		if n[i], ok = f.(int64); !ok {
			return windowReply{}, badReply("field %d is a %T", i+1, f)
		}
	}
	r := windowReply{verdicts: verdicts, standing: standing{count: n[0]}}
	until := func(score int64) time.Duration {
		return time.Duration(score-n[1])*time.Millisecond + window
	}
	if n[0] > 0 {
		r.standing.resetAfter = until(n[2])
	}
	if n[3] > 0 {
		r.standing.retryAfter = until(n[3])
	}
	return r, nil
}
