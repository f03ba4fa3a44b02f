package limiter

import (
	_ "embed" // the scripts
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redisscript"
)

// The files that the scripts are made of.
var (
	//go:embed limit.lua
	limitFile string
	//go:embed allow.lua
	allowFile string
	//go:embed allow_subwindows.lua
	allowSubWindowsFile string
	//go:embed subwindows.lua
	subWindowsFile string
	//go:embed peek.lua
	peekFile string
	//go:embed merge.lua
	mergeFile string
	//go:embed release.lua
	releaseFile string
	//go:embed reserve.lua
	reserveFile string
	//go:embed sweep.lua
	sweepFile string
)

// sizes bound the work of one call of a script, so that no call holds Redis up, whatever the limit and whatever has
// gathered in a key. They are constants of the scripts.
type sizes struct {
	log    int // highest limit whose admissions are kept one by one. Above it, they are counted in sub-windows
	step   int // members that have left the window and that one call removes at most
	fill   int // IDs of a chunk on average. Lua hashes every string as a whole, so long ones cost
	most   int // IDs of a chunk at most; the oldest are forgotten first
	chunks int // chunks of a key at most
}

// maxLog is sizes.log, and the limits above it are large.
const maxLog = 10_000

// production are the sizes outside of tests. A call adds logIDs members at most, so it removes more than it adds.
var production = sizes{log: maxLog, step: 512, fill: 64, most: 112, chunks: 16384}

// logIDs and subWindowIDs are how many event IDs one call of a script takes at most.
const (
	logIDs       = 250
	subWindowIDs = 32
)

// callIDs returns how many event IDs one call for the limit takes at most.
func callIDs(limit Limit) int {
	if limit.highest() > maxLog {
		return subWindowIDs
	}
	return logIDs
}

// scripts are what a Limiter asks Redis with. They are immutable.
type scripts struct{ allow, peek, merge, release, reserve, sweep *redisscript.Script }

// productionScripts are the scripts outside of tests.
var productionScripts = newScripts(production)

// newScripts returns the scripts with the given sizes.
func newScripts(n sizes) scripts {
	constants := fmt.Sprintf("local LOG_MAX, STEP, FILL, MOST, CHUNKS = %d, %d, %d, %d, %d\nlocal RESERVED, SLACK = '\\%d', %d",
		n.log, n.step, n.fill, n.most, n.chunks, reservedMark, reservedSlack.Milliseconds())
	join := func(files ...string) *redisscript.Script {
		return redisscript.New(constants + "\n" + strings.Join(files, "\n"))
	}
	return scripts{
		// A log is decided before the functions of sub-windows are defined.
		allow:   join(limitFile, allowFile, subWindowsFile, allowSubWindowsFile),
		peek:    join(limitFile, subWindowsFile, peekFile),
		merge:   join(limitFile, subWindowsFile, mergeFile),
		release: join(subWindowsFile, releaseFile),
		reserve: join(limitFile, subWindowsFile, reserveFile),
		sweep:   join(subWindowsFile, sweepFile),
	}
}

// subWindowMark begins the members of a key that are no event IDs, as subwindows.lua has it.
const subWindowMark = '\x01'

// replyError means that a reply does not have the form of the scripts' replies. It is a [redis.Error], because the
// server did answer.
type replyError string

func (e replyError) Error() string { return "unexpected reply of a script: " + string(e) }

func (replyError) RedisError() {}

// badReply returns a replyError.
func badReply(format string, args ...any) error { return replyError(fmt.Sprintf(format, args...)) }

// limitArg returns the limit as the scripts take it: Max, or Max+Boost@BoostUntil.
func limitArg(l Limit) string {
	max := strconv.FormatInt(l.Max, 10)
	if l.Boost == 0 {
		return max
	}
	return max + "+" + strconv.FormatInt(l.Boost, 10) + "@" + strconv.FormatInt(l.BoostUntil, 10)
}

// windowReply is the reply of allow.lua and peek.lua, checked.
type windowReply struct {
	verdicts string // a verdict character for each ID
	now      int64  // by the clock of Redis, unix ms
	standing standing
}

// The verdict characters of allow.lua.
const (
	replyRejected = '0'
	replyCharged  = '1'
	replyHeld     = '2'
)

// readWindowReply checks the reply to a call about ids IDs. An error is Redis's, or a replyError.
func readWindowReply(cmd *redis.Cmd, ids int, limit Limit) (windowReply, error) {
	reply, err := cmd.Result()
	if err != nil {
		return windowReply{}, err
	}
	fields, ok := reply.([]any)
	if !ok || len(fields) != 5 && len(fields) != 7 {
		return windowReply{}, badReply("%T is not five or seven fields", reply)
	}
	verdicts, ok := fields[0].(string)
	if !ok || len(verdicts) != ids {
		return windowReply{}, badReply("%T is not %d verdicts", fields[0], ids)
	}
	var n [6]int64 // count, now, oldest, freeing; of peek.lua reserved, ahead
	for i, f := range fields[1:] {
		if n[i], ok = f.(int64); !ok {
			return windowReply{}, badReply("field %d is a %T", i+1, f)
		}
	}
	r := windowReply{verdicts: verdicts, now: n[1], standing: standing{count: n[0], reserved: n[4], ahead: n[5], boostLeft: limit.boostLeft(n[1])}}
	r.standing.limit = limit.inForce(r.standing.boostLeft)
	until := func(score int64) time.Duration {
		return time.Duration(score-n[1])*time.Millisecond + limit.Window
	}
	if n[0] > 0 {
		r.standing.resetAfter = until(n[2])
	}
	switch {
	case n[3] > 0:
		r.standing.retryAfter = until(n[3])
	case n[3] < 0:
		r.standing.retryAfter, r.standing.never = limit.Window, true
	}
	return r, nil
}
