package redishealth

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// errNetwork stands for any fault of the connection.
var errNetwork error = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

// back makes Redis count as back, whatever it is.
func back(h *Health) { h.back(context.Background(), EveryKey, "the test says so") }

func newHealth(t *testing.T, rdb redis.UniversalClient, o Options) *Health {
	t.Helper()
	h, err := New(rdb, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// do makes round trips that end with each of the errors.
func do(h *Health, errs ...error) {
	for _, err := range errs {
		_ = h.Do(context.Background(), func(context.Context) error { return err })
	}
}

func TestAwayAfterFailuresInARow(t *testing.T) {
	t.Parallel()
	wrongType := replyError("WRONGTYPE Operation against a key")
	for name, tt := range map[string]struct {
		trips []error
		away  bool
	}{
		"three":                  {[]error{errNetwork, errNetwork, errNetwork}, true},
		"two":                    {[]error{errNetwork, errNetwork}, false},
		"not in a row":           {[]error{errNetwork, errNetwork, nil, errNetwork, errNetwork}, false},
		"a key's, never":         {[]error{wrongType, wrongType, wrongType, wrongType}, false},
		"a key's ends":           {[]error{errNetwork, errNetwork, wrongType, errNetwork}, false},
		"no error of Redis (F1)": {[]error{errDocument, errDocument, errDocument, errDocument}, false},
	} {
		h := newHealth(t, nil, Options{})
		do(h, tt.trips...)
		if h.Away() != tt.away {
			t.Errorf("%s: away %t, want %t", name, h.Away(), tt.away)
		}
	}
}

func TestDoErrors(t *testing.T) {
	t.Parallel()
	h := newHealth(t, nil, Options{Failures: 2})
	wrongType := replyError("WRONGTYPE Operation against a key")
	if err := h.Do(t.Context(), func(context.Context) error { return wrongType }); !errors.Is(err, wrongType) || errors.Is(err, ErrAway) {
		t.Errorf("a key's error comes back as %v", err)
	}
	if err := h.Do(t.Context(), func(context.Context) error { return errNetwork }); !errors.Is(err, ErrAway) || !errors.Is(err, errNetwork) {
		t.Errorf("the network's error comes back as %v, want ErrAway with it", err)
	}
	do(h, errNetwork)
	ran := false
	err := h.Do(t.Context(), func(context.Context) error { ran = true; return nil })
	if !errors.Is(err, ErrAway) || ran {
		t.Errorf("while Redis is away: %v, ran %t, want ErrAway and nothing run", err, ran)
	}
}

// A caller that gives up says nothing about Redis, in either direction.
func TestCallerThatEndsCountsNeitherWay(t *testing.T) {
	t.Parallel()
	h := newHealth(t, nil, Options{Failures: 2})
	giveUp := func() {
		ctx, cancel := context.WithCancel(t.Context())
		err := h.Do(ctx, func(ctx context.Context) error { cancel(); return ctx.Err() })
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrAway) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	}
	do(h, errNetwork)
	giveUp()
	giveUp()
	if h.Away() {
		t.Error("callers that gave up count as failures")
	}
	do(h, errNetwork)
	if !h.Away() {
		t.Error("callers that gave up end the row of failures")
	}
}

// What began before Redis went away or came back says nothing about now.
func TestStragglersDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(t, nil, Options{Failures: 1, Timeout: time.Hour})
		end := make(chan error)
		straggler := func() {
			go func() { _ = h.Do(context.Background(), func(context.Context) error { return <-end }) }()
			synctest.Wait()
		}
		straggler()
		do(h, errNetwork)
		end <- nil
		synctest.Wait()
		if !h.Away() {
			t.Error("a round trip that began before brings Redis back")
		}
		back(h)
		straggler()
		do(h, errNetwork)
		back(h)
		if h.Away() {
			t.Error("Redis is not back")
		}
		end <- errNetwork
		synctest.Wait()
		if h.Away() {
			t.Error("a round trip that began before the last outage makes a new one")
		}
	})
}

func TestRecover(t *testing.T) {
	t.Parallel()
	server := testserver.Miniredis(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	h := newHealth(t, rdb, Options{Failures: 1, Timeout: time.Minute})
	h.Recover(t.Context())
	if n := server.CommandCount(); n != 0 {
		t.Errorf("%d commands while nothing has failed, want none", n)
	}
	do(h, errNetwork)
	server.SetError("LOADING Redis is loading the dataset in memory")
	if h.Recover(t.Context()); !h.Away() {
		t.Error("back while the probe fails")
	}
	server.SetError("")
	if h.Recover(t.Context()); h.Away() {
		t.Error("away though the probe succeeds")
	}
	if keys := server.Keys(); len(keys) != 0 {
		t.Errorf("the probe wrote %v", keys)
	}
}

// replyError is an error in a server's reply.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// A process that ends while Redis is away says nothing of Redis.
func TestRecoverThatIsEnded(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, "127.0.0.1:1")
	h := newHealth(t, rdb, Options{})
	do(h, errNetwork, errNetwork, errNetwork)
	ended, end := context.WithCancel(t.Context())
	end()
	h.Recover(ended)
	if !h.Away() {
		t.Error("Redis counts as back, though nobody has asked it")
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	newHealth(t, nil, Options{})
	_, err := New(nil, Options{Timeout: -1, ProbeInterval: time.Microsecond, Failures: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"Timeout", "ProbeInterval", "Failures"} {
		if !strings.Contains(err.Error(), field+":") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}
