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
// The record of a message is a hash at arrakis:attempts:<stream>:<sequence>:<stored, unix ms>. It has a field for each
// attempt, named by its delivery. So whatever is written down again, because an answer was lost, counts
// once. The record is deleted when the message ends, and expires a day after the last attempt. While Redis is away,
// nothing is counted, so messages are tried more often, never less often.
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
	lifetime = 24 * time.Hour // of a record after its last attempt
	// concurrency bounds the round trips at the same time. Hundreds of handlers may fail together, and the connections
	// to Redis are sized for the shards.
	concurrency = 8
)

//go:embed begin.lua
var beginSource string

var beginScript = redis.NewScript(beginSource)

// failed is the value of an attempt whose handler failed. The others are begun; see begin.lua.
const failed = "failed"

// Count is what is known of a message's earlier attempts.
type Count struct {
	Failed int // attempts whose handler failed
	Died   int // attempts that have no end: their process died, or it is cut off and may still be running the handler
}

// All returns the number of earlier attempts.
func (c Count) All() int { return c.Failed + c.Died }

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

// Key identifies a message by the stream that it was published to. The time at which it was stored tells it from a message with the same sequence in an
// earlier stream of that name.
func Key(stream string, sequence uint64, stored time.Time) string {
	return prefix + stream + ":" + strconv.FormatUint(sequence, 10) + ":" + strconv.FormatInt(stored.UnixMilli(), 10)
}

// Begin writes down that the attempt of a delivery begins, and returns the earlier ones. delivery tells it from all other
// deliveries of the message. Call it before each attempt but
// the first. The attempt must not begin, and nothing is written down, if begins is false: the message has had limit
// attempts, or a worker has died while it handled this message and alone is false. alone says that the caller runs no
// other such message. Errors: [redishealth.ErrAway] and ctx's; then nobody knows whether the beginning is written down,
// and the caller calls Fail, Undo or Forget as if it were.
func (s *Store) Begin(ctx context.Context, key string, delivery string, limit int, alone bool) (earlier Count, begins bool, err error) {
	var reply []int64
	err = s.do(ctx, key, func(ctx context.Context) (err error) {
		reply, err = beginScript.Run(ctx, s.rdb, []string{key}, delivery, limit, alone, int(lifetime.Seconds())).Int64Slice()
		return err
	})
	if err == nil && len(reply) != 3 {
		err = fmt.Errorf("the script returned %d values", len(reply))
	}
	if err != nil {
		return Count{}, false, fmt.Errorf("begin an attempt: %w", err)
	}
	return Count{Failed: int(reply[0]), Died: int(reply[1])}, reply[2] == 1, nil
}

// Fail writes down that the attempt of a delivery failed, whether its beginning was written down or not.
func (s *Store) Fail(ctx context.Context, key, delivery string) error {
	err := s.pipelined(ctx, key, func(ctx context.Context, p redis.Pipeliner) {
		p.HSet(ctx, key, delivery, failed)
		p.Expire(ctx, key, lifetime)
	})
	if err != nil {
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

// pipelined sends commands for a key in one round trip.
func (s *Store) pipelined(ctx context.Context, key string, commands func(context.Context, redis.Pipeliner)) error {
	return s.do(ctx, key, func(ctx context.Context) error {
		_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			commands(ctx, p)
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
