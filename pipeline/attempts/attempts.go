// Package attempts counts the attempts to handle a message over all processes, in Redis. An attempt is a handler that
// ran and failed, or a process that died while its handler ran. JetStream's own count is of no use for that: it also
// counts messages that were given back because a process shut down, or because limits could not be checked.
//
// A message that comes for the first time costs nothing: it is written down only once its handler has failed. Therefore
// the death of a process during the first delivery of a message is not counted. From the second delivery on, an attempt
// is written down before its handler starts, so that it counts even if the process dies.
//
// # Redis
//
// The record of a message is a hash at arrakis:attempts:<stream>:<sequence>:<stored, unix ms>, where stream is the one
// that it was published to. It has a field for each attempt, named by its delivery. So whatever is written down again,
// because an answer was lost, counts once. The field decision says that the message becomes a dead letter. The record is
// deleted when the message ends, and expires a day after it was last written. While Redis is away, attempts count only
// as far as the message itself says how many have failed, so messages are tried more often, never less often.
//
// Whoever calls a Store waits for Redis, and all who do at the same time share round trips. So a thousand handlers that
// fail together cost a few of them.
package attempts

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
)

const (
	prefix   = "arrakis:attempts:"
	lifetime = 24 * time.Hour // of a record after it was last written
)

//go:embed begin.lua
var beginSource string

//go:embed write.lua
var writeSource string

var (
	beginScript = redisscript.New(beginSource)
	writeScript = redisscript.New(writeSource)
)

// failed is the value of an attempt whose handler failed. The others are begun; see begin.lua.
const failed = "failed"

// Earlier is what is known of a message's earlier attempts.
type Earlier struct {
	Failed int // attempts whose handler failed
	Died   int // attempts that have no end: their process died, or it is cut off and may still be running the handler
	// Decision is what Decide has written down. It is "" if nothing is decided.
	Decision string
}

// All returns the number of earlier attempts.
func (e Earlier) All() int { return e.Failed + e.Died }

// Store keeps the records. It is safe for concurrent use: those who call it at the same time share round trips.
type Store struct{ group *redisscript.Group }

// New returns a Store on the given client.
func New(rdb redis.UniversalClient, health *redishealth.Health) *Store {
	return &Store{redisscript.NewGroup(rdb, health)}
}

// Key identifies a message by where it was published to. The time at which it was stored tells it from a message with
// the same sequence in an earlier stream of that name.
func Key(stream string, sequence uint64, stored time.Time) string {
	return prefix + stream + ":" + strconv.FormatUint(sequence, 10) + ":" + strconv.FormatInt(stored.UnixMilli(), 10)
}

// Attempt is an attempt that is about to begin.
type Attempt struct {
	Delivery string // tells this delivery from all others of the message
	Limit    int    // attempts that a message has
	Known    int    // earlier attempts that the caller knows of; Redis may know of more, or of fewer if it was away
	Alone    bool   // the caller runs no other message whose worker died before
}

// Begin writes down that an attempt begins, and returns what is known of the earlier ones. Call it before each attempt
// but the first. The attempt must not begin, and nothing is written down, if begins is false: it is decided that the
// message becomes a dead letter, or the message has had all its attempts, or a worker has died while it handled this
// message and a.Alone is false. Errors: [redishealth.ErrAway] and ctx's; then nobody knows whether the beginning is
// written down, and the caller calls Fail, Undo or Forget as if it were.
func (s *Store) Begin(ctx context.Context, key string, a Attempt) (earlier Earlier, begins bool, err error) {
	var c redisscript.Call
	c.Prepare(beginScript, key, a.Delivery, a.Limit, a.Alone, int(lifetime.Seconds()), a.Known)
	err = s.group.Run(ctx, &c)
	if err != nil {
		return Earlier{}, false, fmt.Errorf("begin an attempt: %w", err)
	}
	reply, _ := c.Cmd.Slice() // nil is refused below
	if len(reply) == 4 {
		failed, ok1 := reply[0].(int64)
		died, ok2 := reply[1].(int64)
		begun, ok3 := reply[2].(int64)
		decision, ok4 := reply[3].(string)
		if ok1 && ok2 && ok3 && ok4 {
			return Earlier{Failed: int(failed), Died: int(died), Decision: decision}, begun == 1, nil
		}
	}
	return Earlier{}, false, fmt.Errorf("begin an attempt: the script returned %v", c.Cmd.Val())
}

// Decide writes down that the message becomes a dead letter, and with what. From then on no attempt begins.
func (s *Store) Decide(ctx context.Context, key, decision string) error {
	if err := s.write(ctx, key, "decision", decision); err != nil {
		return fmt.Errorf("write a decision down: %w", err)
	}
	return nil
}

// Fail writes down that the attempt of a delivery failed, whether its beginning was written down or not.
func (s *Store) Fail(ctx context.Context, key, delivery string) error {
	if err := s.write(ctx, key, delivery, failed); err != nil {
		return fmt.Errorf("write a failed attempt down: %w", err)
	}
	return nil
}

// Undo takes back the Begin of a delivery, because the handler was interrupted.
func (s *Store) Undo(ctx context.Context, key, delivery string) error {
	var c redisscript.Call
	c.Command("hdel", key, delivery)
	if err := s.group.Run(ctx, &c); err != nil {
		return fmt.Errorf("take an attempt back: %w", err)
	}
	return nil
}

// Forget deletes the record of a message that has ended.
func (s *Store) Forget(ctx context.Context, key string) error {
	var c redisscript.Call
	c.Unlink(key)
	if err := s.group.Run(ctx, &c); err != nil {
		return fmt.Errorf("forget the attempts: %w", err)
	}
	return nil
}

// write sets a field of a record, which lives on.
func (s *Store) write(ctx context.Context, key, field, value string) error {
	var c redisscript.Call
	c.Prepare(writeScript, key, field, value, int(lifetime.Seconds()))
	return s.group.Run(ctx, &c)
}
