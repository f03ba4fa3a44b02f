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

// Answer says how a key stands under a limit.
type Answer struct {
	Usage Usage
	// Verdict is the one that one more message would get.
	Verdict Verdict
	// Never says that no permit will be free: the limit is 0, or a boost of 0 ends before one is.
	Never bool
}

// Check returns the verdict that one more message of the key would get. It takes no permit and writes nothing. While
// Redis is away, the policy decides. Errors: ctx's, and an invalid limit.
func (l *Limiter) Check(ctx context.Context, key string, limit Limit) (Verdict, error) {
	answers, err := l.Answers(ctx, []Query{{Key: key, Limit: limit}})
	if err != nil {
		return Verdict{}, err
	}
	return answers[0].Verdict, nil
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
	answers, err := l.Answers(ctx, queries)
	if err != nil {
		return nil, err
	}
	usages := make([]Usage, len(answers))
	for i, a := range answers {
		if a.Usage.Degraded && l.o.OnRedisDown == Closed {
			return nil, redishealth.ErrAway
		}
		usages[i] = a.Usage
	}
	return usages, nil
}

// Answers returns usage and verdict of several keys in one round trip, in the order of the queries, and writes nothing.
// Where Redis cannot be used, a usage counts the admissions that this process knows, and the policy decides the verdict.
// Errors: ctx's, and an invalid limit.
func (l *Limiter) Answers(ctx context.Context, queries []Query) ([]Answer, error) {
	answers := make([]Answer, len(queries))
	var ask []Query
	var places []int // index of the answer for each query in ask
	for i, q := range queries {
		if err := q.Limit.Validate(); err != nil {
			return nil, fmt.Errorf("limiter: key %q: %w", q.Key, err)
		}
		if q.Limit.Max == Unlimited {
			answers[i] = unlimitedAnswer()
			continue
		}
		ask, places = append(ask, q), append(places, i)
	}
	found, err := l.standings(ctx, ask, nil)
	if err != nil {
		return nil, err
	}
	for i := range found {
		answers[places[i]] = l.answerOf(&found[i], ask[i])
	}
	return answers, nil
}

func unlimitedAnswer() Answer {
	return Answer{Usage: Usage{Limit: Unlimited, Remaining: Unlimited}, Verdict: unlimitedVerdict()}
}

// answerOf makes the answer for a key with a limit. A standing that is degraded is that of memory.
func (l *Limiter) answerOf(found *keyStanding, q Query) Answer {
	now := l.sinceStart(l.now())
	if found.degraded {
		found.standing = l.fallback.standing(q.Key, q.Limit, now)
	}
	a := Answer{Usage: found.usage(q.Limit), Verdict: found.peek(q.Limit)}
	a.Never = found.never && !a.Verdict.Allowed // one can be free beside reservations that were made under a lower limit
	switch a.Usage.Degraded = found.degraded; {
	case q.Limit.none():
		a.Verdict = noneVerdict(q.Limit)
	case !found.degraded:
	case l.o.OnRedisDown == Closed:
		a.Verdict = l.fallback.closedVerdict(q.Limit, now)
	case l.o.OnRedisDown == Open && a.Verdict.Limit > 0:
		a.Verdict.Allowed, a.Verdict.Charged, a.Verdict.RetryAfter, a.Verdict.Degraded = true, true, 0, true
	default:
		a.Verdict.Degraded = true
	}
	return a
}

// keyStanding is one key's standing.
type keyStanding struct {
	standing
	now      int64 // when it was so, by the clock of Redis, in unix ms
	degraded bool  // Redis does not know it
}

// standings returns the standing of every key from Redis, in one round trip. The other calls share that round trip; the
// caller looks at their replies.
func (l *Limiter) standings(ctx context.Context, queries []Query, others []*redisscript.Call) ([]keyStanding, error) {
	if len(queries) == 0 {
		return nil, ctx.Err()
	}
	found := make([]keyStanding, len(queries))
	for i := range found {
		found[i].degraded = true // until Redis has answered
	}
	for range redishealth.Attempts {
		again, err := l.readStandings(ctx, queries, found, others)
		if err != nil {
			return nil, err
		}
		if !again {
			break
		}
	}
	return found, nil
}

// readStandings sets the standings that Redis returns, which are not degraded. It asks once for each query that has no
// answer, unless its key's node is away, and makes the others that have none. It reports whether the server failed. An
// error is ctx's.
func (l *Limiter) readStandings(ctx context.Context, queries []Query, found []keyStanding, others []*redisscript.Call) (again bool, err error) {
	var places []int // index of the query of each call
	var keys []string
	for i, q := range queries {
		if found[i].degraded && !l.health.KeyAway(l.o.Prefix+q.Key) {
			places, keys = append(places, i), append(keys, q.Key)
		}
	}
	var calls []*redisscript.Call
	if len(places) > 0 {
		// Redis must count what it has not seen.
		if _, _, err := l.mergeKeys(ctx, keys); err != nil {
			return false, err
		}
	}
	clock := l.clockArg()
	for _, place := range places {
		q, c := &queries[place], new(redisscript.Call)
		c.Prepare(l.scripts.peek, l.o.Prefix+q.Key, limitArg(q.Limit), q.Limit.Window.Milliseconds(), clock)
		calls = append(calls, c)
	}
	peeks := calls
	for _, c := range others {
		if (c.Cmd == nil || redishealth.ServerFailed(c.Cmd.Err())) && !l.health.KeyAway(c.RedisKey) {
			calls = append(calls, c)
		}
	}
	if len(calls) == 0 {
		return false, ctx.Err()
	}
	if err := redisscript.Run(ctx, l.rdb, l.health, calls); err != nil {
		return false, err
	}
	for _, c := range calls[len(peeks):] {
		again = again || redishealth.ServerFailed(c.Cmd.Err())
	}
	for i, place := range places {
		reply, err := readWindowReply(peeks[i].Cmd, 0, queries[place].Limit)
		switch {
		case err == nil:
			found[place] = keyStanding{standing: reply.standing, now: reply.now}
		case redishealth.ServerFailed(err):
			again = true
		default:
			l.logUnusable(ctx, queries[place].Key, err)
		}
	}
	return again, nil
}
