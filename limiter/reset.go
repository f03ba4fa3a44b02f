package limiter

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
)

// scanCount is how many keys Redis looks at for one SCAN.
const scanCount = 1000

// Reset forgets all admissions of the key, in Redis and in this process's memory. The owner of the key's Window must
// also call Window.Forget, and other processes must call ForgetLocal. While Redis is away, only the memory is reset,
// and Reset returns [redishealth.ErrAway].
func (l *Limiter) Reset(ctx context.Context, key string) error {
	l.fallback.forget(key)
	err := l.health.Do(ctx, func(ctx context.Context) error { return l.rdb.Unlink(ctx, l.o.Prefix+key).Err() })
	if err != nil {
		return fmt.Errorf("reset %q: %w", key, err)
	}
	// Admissions that this process has recorded until now were made before the reset.
	l.fallback.forget(key)
	return nil
}

// ResetPrefix is Reset for all keys that begin with prefix. It scans every key in Redis, on every master of a cluster.
func (l *Limiter) ResetPrefix(ctx context.Context, prefix string) error {
	if l.Degraded() {
		return redishealth.ErrAway
	}
	l.fallback.forgetPrefix(prefix)
	// Admissions that this process records until the keys are deleted were made before the reset.
	defer l.fallback.forgetPrefix(prefix)
	pattern := asPattern.Replace(l.o.Prefix+prefix) + "*"
	if cluster, ok := l.rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			return l.unlinkMatching(ctx, master, pattern)
		})
	}
	return l.unlinkMatching(ctx, l.rdb, pattern)
}

// asPattern turns a text into a pattern of SCAN that matches only that text.
var asPattern = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// unlinkMatching deletes the keys of one node that match.
func (l *Limiter) unlinkMatching(ctx context.Context, node redis.Cmdable, pattern string) error {
	for cursor, more := uint64(0), true; more; more = cursor != 0 {
		err := l.health.Do(ctx, func(ctx context.Context) error {
			keys, next, err := node.Scan(ctx, cursor, pattern, scanCount).Result()
			if err != nil {
				return err
			}
			cursor = next
			// One command for each key, because on a cluster the keys are in different slots.
			_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, key := range keys {
					p.Unlink(ctx, key)
				}
				return nil
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("reset keys that match %q: %w", pattern, err)
		}
	}
	return nil
}

// ForgetLocal drops the key from this process's memory, because another process has reset the key.
func (l *Limiter) ForgetLocal(key string) { l.fallback.forget(key) }

// ForgetLocalPrefix is ForgetLocal for all keys that begin with prefix. It looks at every key in memory, at most
// Options.MaxKeys.
func (l *Limiter) ForgetLocalPrefix(prefix string) { l.fallback.forgetPrefix(prefix) }

// Release releases the permits of the IDs, for messages that were charged but then refused for another reason. IDs
// without a permit are ignored. The owner of the key's Window must also call Window.Forget. While Redis is away,
// permits in Redis cannot be released, and Release returns [redishealth.ErrAway].
func (l *Limiter) Release(ctx context.Context, key string, ids ...string) error {
	w := NewWindow(key)
	batch := make([]*Request, len(ids))
	for i, id := range ids {
		batch[i] = &Request{Window: w, ID: id}
	}
	return l.ReleaseBatch(ctx, batch)
}

// ReleaseBatch is Release for requests of any keys, in one round trip. It also calls Forget of the requests' Windows.
func (l *Limiter) ReleaseBatch(ctx context.Context, batch []*Request) error {
	if len(batch) == 0 {
		return nil
	}
	local := true
	for _, r := range batch {
		r.Window.Forget()
		local = l.fallback.release(r.Window.key, r.ID) && local
	}
	if local && l.Degraded() {
		return nil
	}
	err := l.health.Do(ctx, func(ctx context.Context) error {
		clock := l.clockArg()
		calls := make([]*scriptCall, len(batch))
		for i, r := range batch {
			calls[i] = new(scriptCall)
			calls[i].prepare(l.scripts.release, l.o.Prefix+r.Window.key)
			calls[i].args = append(calls[i].args, maxWindow.Milliseconds(), clock, r.ID)
		}
		l.exec(ctx, l.scripts.release, calls)
		for _, c := range calls {
			if err := c.cmd.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("release %d permits: %w", len(batch), err)
	}
	return nil
}
