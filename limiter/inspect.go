package limiter

import (
	"context"
	"fmt"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
)

// Query asks for the usage of one key.
type Query struct {
	Key   string // without the limiter's prefix
	Limit Limit
}

// Check returns the verdict that one more message of the key would get. It takes no permit and writes nothing. While
// Redis is away, the policy decides. Errors: ctx's, and an invalid limit.
func (l *Limiter) Check(ctx context.Context, key string, limit Limit) (Verdict, error) {
	if err := limit.Validate(); err != nil {
		return Verdict{}, fmt.Errorf("limiter: key %q: %w", key, err)
	}
	switch {
	case limit.Max == Unlimited:
		return unlimitedVerdict(), nil
	case limit.none():
		return noneVerdict(limit), nil
	}
	found, err := l.standings(ctx, []Query{{Key: key, Limit: limit}})
	if err != nil {
		return Verdict{}, err
	}
	v := found[0].peek(limit)
	if !found[0].degraded {
		return v, nil
	}
	switch l.o.OnRedisDown {
	case Closed:
		return l.fallback.closedVerdict(limit, l.sinceStart(l.now())), nil
	case Open:
		v.Allowed, v.Charged, v.RetryAfter = true, true, 0
	}
	v.Degraded = true
	return v, nil
}

// Usage returns how many permits of its limit the key has used, and writes nothing. While Redis is away, it counts the
// admissions that this process knows. Under Closed it then returns [redishealth.ErrAway]. Other errors: ctx's, and an
// invalid limit.
func (l *Limiter) Usage(ctx context.Context, key string, limit Limit) (Usage, error) {
	usages, err := l.Usages(ctx, []Query{{Key: key, Limit: limit}})
	if err != nil {
		return Usage{}, err
	}
	return usages[0], nil
}

// Usages is Usage for several keys in one round trip. The answers are in the order of the queries.
func (l *Limiter) Usages(ctx context.Context, queries []Query) ([]Usage, error) {
	usages := make([]Usage, len(queries))
	var ask []Query
	var places []int // index of the answer for each query in ask
	for i, q := range queries {
		if err := q.Limit.Validate(); err != nil {
			return nil, fmt.Errorf("limiter: key %q: %w", q.Key, err)
		}
		if q.Limit.Max == Unlimited {
			usages[i] = Usage{Limit: Unlimited, Remaining: Unlimited}
			continue
		}
		ask, places = append(ask, q), append(places, i)
	}
	found, err := l.standings(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		if f.degraded && l.o.OnRedisDown == Closed {
			return nil, redishealth.ErrAway
		}
		u := f.usage(ask[i].Limit)
		u.Degraded = f.degraded
		usages[places[i]] = u
	}
	return usages, nil
}

// keyStanding is one key's standing.
type keyStanding struct {
	standing
	degraded bool // from memory, not from Redis
}

// standings returns the standing of every key, from Redis in one round trip, or from memory where Redis cannot be used.
func (l *Limiter) standings(ctx context.Context, queries []Query) ([]keyStanding, error) {
	if len(queries) == 0 {
		return nil, ctx.Err()
	}
	found := make([]keyStanding, len(queries))
	for i := range found {
		found[i].degraded = true // until Redis has answered
	}
	for range redishealth.Attempts {
		again, err := l.readStandings(ctx, queries, found)
		if err != nil {
			return nil, err
		}
		if !again {
			break
		}
	}
	now := l.sinceStart(l.now())
	for i, q := range queries {
		if found[i].degraded {
			found[i].standing = l.fallback.standing(q.Key, q.Limit, now)
		}
	}
	return found, nil
}

// readStandings sets the standings that Redis returns, which are not degraded. It asks once for each query that has no
// answer, unless its key's node is away. It reports whether the server failed. An error is ctx's.
func (l *Limiter) readStandings(ctx context.Context, queries []Query, found []keyStanding) (again bool, err error) {
	var places []int // index of the query of each call
	var keys []string
	for i, q := range queries {
		if found[i].degraded && !l.health.KeyAway(l.o.Prefix+q.Key) {
			places, keys = append(places, i), append(keys, q.Key)
		}
	}
	if len(places) == 0 {
		return false, ctx.Err()
	}
	// Redis must count what it has not seen.
	if _, _, err := l.mergeKeys(ctx, keys); err != nil {
		return false, err
	}
	clock := l.clockArg()
	calls := make([]*redisscript.Call, len(places))
	for i, place := range places {
		q := &queries[place]
		calls[i] = new(redisscript.Call)
		calls[i].Prepare(l.scripts.peek, l.o.Prefix+q.Key, limitArg(q.Limit), q.Limit.Window.Milliseconds(), clock)
	}
	if err := redisscript.Run(ctx, l.rdb, l.health, calls); err != nil {
		return false, err
	}
	for i, place := range places {
		reply, err := readWindowReply(calls[i].Cmd, 0, queries[place].Limit)
		switch {
		case err == nil:
			found[place] = keyStanding{standing: reply.standing}
		case redishealth.ServerFailed(err):
			again = true
		default:
			l.logUnusable(ctx, queries[place].Key, err)
		}
	}
	return again, nil
}
