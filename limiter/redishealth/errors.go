package redishealth

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// serverCodes are the error codes with which a Redis server says that it cannot serve any key now.
var serverCodes = []string{
	"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "OOM", "BUSY",
	"NOAUTH", "WRONGPASS", "NOPERM", "UNKILLABLE", "max number of clients reached",
}

// ServerFailed reports whether a command's error means that Redis as a whole cannot be used: an error of the network, a
// time-out, a closed client, an exhausted pool, or a server that cannot serve now. Any other error in a server's reply
// (a [redis.Error]) concerns only the command's key, for example because the key is of another type. ServerFailed is
// false for nil.
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
