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
package attempts

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
)

const (
	prefix   = "arrakis:attempts:"
	lifetime = 24 * time.Hour // of a record after it was last written
	// concurrency bounds the round trips at the same time. Hundreds of handlers may fail together, and the connections
	// to Redis are sized for the shards.
	concurrency = 8
)

//go:embed begin.lua
var beginSource string

var beginScript = redis.NewScript(beginSource)

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

// Store keeps the records. It is safe for concurrent use.
type Store struct {
	rdb    redis.UniversalClient
	health *redishealth.Health
	slots  chan struct{}
}

// New returns a Store on the given client.
func New(rdb redis.UniversalClient, health *redishealth.Health) *Store {
	return &Store{rdb: rdb, health: health, slots: make(chan struct{}, concurrency)}
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
	var reply []any
	err = s.do(ctx, key, func(ctx context.Context) (err error) {
		reply, err = beginScript.Run(ctx, s.rdb, []string{key},
			a.Delivery, a.Limit, a.Alone, int(lifetime.Seconds()), a.Known).Slice()
		return err
	})
	if err != nil {
		return Earlier{}, false, fmt.Errorf("begin an attempt: %w", err)
	}
	if len(reply) == 4 {
		failed, ok1 := reply[0].(int64)
		died, ok2 := reply[1].(int64)
		begun, ok3 := reply[2].(int64)
		decision, ok4 := reply[3].(string)
		if ok1 && ok2 && ok3 && ok4 {
			return Earlier{Failed: int(failed), Died: int(died), Decision: decision}, begun == 1, nil
		}
	}
	return Earlier{}, false, fmt.Errorf("begin an attempt: the script returned %v", reply)
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
	err := s.do(ctx, key, func(ctx context.Context) error { return s.rdb.HDel(ctx, key, delivery).Err() })
	if err != nil {
		return fmt.Errorf("take an attempt back: %w", err)
	}
	return nil
}

// Forget deletes the record of a message that has ended.
func (s *Store) Forget(ctx context.Context, key string) error {
	err := s.do(ctx, key, func(ctx context.Context) error { return s.rdb.Unlink(ctx, key).Err() })
	if err != nil {
		return fmt.Errorf("forget the attempts: %w", err)
	}
	return nil
}

// write sets a field of a record, which lives on, in one round trip.
func (s *Store) write(ctx context.Context, key, field, value string) error {
	return s.do(ctx, key, func(ctx context.Context) error {
		_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, key, field, value)
			p.Expire(ctx, key, lifetime)
			return nil
		})
		return err
	})
}

// do makes a round trip for a key, with at most concurrency of them at the same time.
func (s *Store) do(ctx context.Context, key string, roundTrip func(context.Context) error) error {
	if s.health.KeyAway(key) {
		return redishealth.ErrAway
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.health.DoKey(ctx, key, roundTrip)
}
