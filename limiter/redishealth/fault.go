package redishealth

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// serverCodes are the error codes with which a Redis server says that it cannot serve any key now.
var serverCodes = []string{
	"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "OOM", "BUSY",
	"NOAUTH", "WRONGPASS", "UNKILLABLE", "max number of clients reached",
}

// ServerFailed reports whether a command's error means that the server cannot be used: a fault of the connection, a
// time-out, a closed client, an exhausted pool, or a server that cannot serve now. Any other error in a server's reply
// (a [redis.Error]) concerns only the command or its key, for example because the key is of another type. Any other
// error is none of Redis, for example that of a document that cannot be read. ServerFailed is false for nil.
func ServerFailed(err error) bool {
	if err == nil {
		return false
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		return saysUnable(reply)
	}
	return connectionFailed(err)
}

// saysUnable reports whether the error in a server's reply says that the server cannot serve now.
func saysUnable(reply redis.Error) bool {
	for _, code := range serverCodes {
		// Redis before 7 wraps the error of a script's command: "ERR Error running script ...: -READONLY ...".
		if redis.HasErrorPrefix(reply, code) || strings.Contains(reply.Error(), "-"+code+" ") {
			return true
		}
	}
	return false
}

// connectionFailed reports whether the error is a fault of the connection. A net.Error is also what a system call, a
// deadline and a context's time-out return.
func connectionFailed(err error) bool {
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	if errors.As(err, &network) || errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert) {
		return true
	}
	for _, target := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, context.DeadlineExceeded,
		redis.ErrClosed, redis.ErrPoolTimeout, redis.ErrPoolExhausted,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return ofClient(err)
}

// ofClient reports whether the error is one that go-redis makes itself: an unusable connection, an answer that cannot
// be read, no reachable Sentinel, no known node. Most of these errors have no name; their texts begin with "redis: ".
// Each wrapped error is looked at by itself, because a text in the middle may be anybody's.
func ofClient(err error) bool {
	if err == nil {
		return false
	}
	if strings.HasPrefix(err.Error(), "redis: ") {
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree itself
	case interface{ Unwrap() error }:
		return ofClient(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range wrapper.Unwrap() {
			if ofClient(e) {
				return true
			}
		}
	}
	return false
}
