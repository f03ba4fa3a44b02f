package limiter

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrUnavailable is returned by operations that need Redis and cannot do without while it is away.
var ErrUnavailable = errors.New("limiter: redis is away")

// errCallerGone tells the breaker that a round trip ended because its caller did; it counts neither way.
var errCallerGone = errors.New("limiter: the caller is gone")

// fault says whose fault a failed call is.
type fault int

const (
	faultNone fault = iota
	faultAway       // Redis as a whole cannot be used: counts for the breaker
	faultKey        // this key cannot be used, for example because it is of another type
)

// serverCodes are the error codes by which a Redis server says that it cannot serve now, whatever the key.
var serverCodes = []string{
	"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "OOM", "BUSY",
	"NOAUTH", "WRONGPASS", "NOPERM", "UNKILLABLE", "max number of clients reached",
}

// classify sorts the error of one call. A server's error that names no condition of the server is the key's.
func classify(err error) fault {
	var reply redis.Error
	switch {
	case err == nil:
		return faultNone
	case errors.Is(err, errReply):
		return faultKey
	case !errors.As(err, &reply):
		return faultAway // the network, a timeout, a closed client, an exhausted pool
	}
	for _, code := range serverCodes {
		// Redis before 7 wraps the error of a script's command: "ERR Error running script ...: -READONLY ...".
		if redis.HasErrorPrefix(err, code) || strings.Contains(err.Error(), "-"+code+" ") {
			return faultAway
		}
	}
	return faultKey
}

// keyFaultInterval is how often the fault of one key is logged.
const keyFaultInterval = time.Minute

// logKeyFault logs that a key cannot be used, once a keyFaultInterval for each key.
func (l *Limiter) logKeyFault(ctx context.Context, key string, err error) {
	now := l.now()
	if last, ok := l.keyFaults.Get(key); ok && now.Sub(last) < keyFaultInterval {
		return
	}
	l.keyFaults.Add(key, now)
	l.o.Logger.ErrorContext(ctx, "key cannot be used, its limit is decided in memory", "key", l.o.Prefix+key, "err", err)
}
