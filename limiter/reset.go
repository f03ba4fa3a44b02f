package limiter

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
)

// scanCount is how many keys Redis looks at for one SCAN.
const scanCount = 1000

// Reset forgets all admissions of the key, in Redis and in this process's memory. The owner of the key's Window must
// also call Window.Forget, and other processes must call ForgetLocal. While Redis is away, only the memory is reset,
// and Reset returns [redishealth.ErrAway]. Admissions that are being merged at that moment may survive the reset; then
// the key rejects too early rather than too late.
func (l *Limiter) Reset(ctx context.Context, key string) error {
	l.fallback.forget(key)
	redisKey := l.o.Prefix + key
	err := l.health.DoKey(ctx, redisKey, func(ctx context.Context) error { return l.rdb.Unlink(ctx, redisKey).Err() })
	if err != nil {
		return fmt.Errorf("reset %q: %w", key, err)
	}
	// Admissions that this process has recorded until now were made before the reset.
	l.fallback.forget(key)
	return nil
}

// ResetPrefix is Reset for all keys that begin with prefix. It scans every key in Redis, on every master of a cluster.
// If a master is away, ResetPrefix resets the keys of the others and returns [redishealth.ErrAway].
func (l *Limiter) ResetPrefix(ctx context.Context, prefix string) error {
	l.fallback.forgetPrefix(prefix)
	// Admissions that this process records until the keys are deleted were made before the reset.
	defer l.fallback.forgetPrefix(prefix)
	pattern := asPattern.Replace(l.o.Prefix+prefix) + "*"
	var err error
	if cluster, ok := l.rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			return l.unlinkMatching(ctx, master, pattern)
		})
	} else if l.Degraded() {
		return redishealth.ErrAway
	} else {
		err = l.unlinkMatching(ctx, l.rdb, pattern)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && redishealth.ServerFailed(err):
		err = fmt.Errorf("%w: %w", redishealth.ErrAway, err)
	}
	return fmt.Errorf("reset keys that match %q: %w", pattern, err)
}

// asPattern turns a text into a pattern of SCAN that matches only that text.
var asPattern = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// unlinkMatching deletes the keys of one node that match. Its failures are not counted: they are not those of a key.
func (l *Limiter) unlinkMatching(ctx context.Context, node redis.Cmdable, pattern string) error {
	for cursor, more := uint64(0), true; more; more = cursor != 0 {
		var err error
		if cursor, err = l.unlinkSome(ctx, node, cursor, pattern); err != nil {
			return err
		}
	}
	return nil
}

// unlinkSome deletes the keys that match in one step of a scan, and returns the cursor of the next step.
func (l *Limiter) unlinkSome(ctx context.Context, node redis.Cmdable, cursor uint64, pattern string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.health.Timeout())
	defer cancel()
	keys, next, err := node.Scan(ctx, cursor, pattern, scanCount).Result()
	if err != nil {
		return 0, err
	}
	// One command for each key, because on a cluster the keys are in different slots.
	_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Unlink(ctx, key)
		}
		return nil
	})
	return next, err
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
	var failed error
	var calls []*redisscript.Call
	clock := l.clockArg()
	for _, r := range batch {
		r.Window.Forget()
		unseen := l.fallback.release(r.Window.key, r.ID)
		switch key := l.o.Prefix + r.Window.key; {
		case !l.health.KeyAway(key):
			c := new(redisscript.Call)
			c.Prepare(l.scripts.release, key, maxWindow.Milliseconds(), clock, r.ID)
			calls = append(calls, c)
		case !unseen:
			failed = redishealth.ErrAway
		}
	}
	if len(calls) > 0 {
		failed = cmp.Or(l.release(ctx, calls), failed)
	}
	if failed != nil {
		return fmt.Errorf("release %d permits: %w", len(batch), failed)
	}
	return nil
}

// release makes the round trip of the calls.
func (l *Limiter) release(ctx context.Context, calls []*redisscript.Call) (failed error) {
	if err := redisscript.Run(ctx, l.rdb, l.health, calls); err != nil {
		return err
	}
	for _, c := range calls {
		if err := c.Cmd.Err(); redishealth.ServerFailed(err) {
			failed = fmt.Errorf("%w: %w", redishealth.ErrAway, err)
		} else if err != nil {
			failed = err
		}
	}
	return failed
}
