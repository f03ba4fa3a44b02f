package redishealth

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// serverCodes are the error codes by which a Redis server says that it cannot serve now, whatever the key.
var serverCodes = []string{
	"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "OOM", "BUSY",
	"NOAUTH", "WRONGPASS", "NOPERM", "UNKILLABLE", "max number of clients reached",
}

// ServerFailed reports whether a command's error says that Redis as a whole cannot be used: the network, a time-out, a
// closed client, an exhausted pool, or a server that cannot serve now. Any other error in a server's reply (a
// [redis.Error]) is of the command's key alone, for example because the key is of another type. It is false for nil.
func ServerFailed(err error) bool {
	if err == nil {
		return false
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	for _, code := range serverCodes {
		// Redis before 7 wraps the error of a script's command: "ERR Error running script ...: -READONLY ...".
		if redis.HasErrorPrefix(err, code) || strings.Contains(err.Error(), "-"+code+" ") {
			return true
		}
	}
	return false
}
