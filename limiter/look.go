package limiter

import (
	"context"
	"time"

	"arrakis/limiter/redisscript"
)

// Look says how a key stands, whatever its limit.
type Look struct {
	limiter *Limiter
	query   Query
	found   keyStanding
}

// Look looks at keys whose limits are not known yet: the other calls, whose replies are the caller's, read them in the
// same round trip. The windows are those of the keys' limits. What the server fails to answer is asked again, as by
// Answers; a call that is still without a Cmd was not sent, because the node of its key is away. An error is ctx's.
func (l *Limiter) Look(ctx context.Context, keys []string, windows []time.Duration, others ...*redisscript.Call) ([]*Look, error) {
	queries := make([]Query, len(keys))
	for i, key := range keys {
		queries[i] = Query{Key: key, Limit: Limit{Window: windows[i]}}
	}
	found, err := l.standings(ctx, queries, others)
	if err != nil {
		return nil, err
	}
	looks := make([]*Look, len(keys))
	for i := range found {
		looks[i] = &Look{l, queries[i], found[i]}
	}
	return looks, nil
}

// Under returns the usage and verdict of the key under a limit, which must be valid. It returns false if only
// [Limiter.Answers] knows them: where more permits are taken than the limit has, or a boost may end before one is free,
// the key must be searched for the permit that becomes free first.
func (k *Look) Under(limit Limit) (Answer, bool) {
	if limit.Max == Unlimited {
		return unlimitedAnswer(), true
	}
	query, found := Query{Key: k.query.Key, Limit: limit}, k.found
	if found.degraded || limit.none() {
		found.limit, found.boostLeft, found.never = 0, 0, true
		return k.limiter.answerOf(&found, query), true
	}
	found.boostLeft = limit.boostLeft(found.now)
	found.limit = limit.inForce(found.boostLeft)
	switch {
	case found.ahead > 0 && limit.highest() > maxLog: // only a log has room beside reservations
		return Answer{}, false
	case found.taken() < found.limit:
		found.retryAfter, found.never = 0, false
	case found.limit == 0:
		found.retryAfter, found.never = limit.Window, true
	case found.count == found.limit && found.boostLeft == 0:
		found.retryAfter, found.never = found.resetAfter, false // the oldest one
	default:
		return Answer{}, false
	}
	return k.limiter.answerOf(&found, query), true
}
