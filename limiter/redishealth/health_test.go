package redishealth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// errNetwork stands for any failure that is not a key's.
var errNetwork = errors.New("connection refused")

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
		"three":          {[]error{errNetwork, errNetwork, errNetwork}, true},
		"two":            {[]error{errNetwork, errNetwork}, false},
		"not in a row":   {[]error{errNetwork, errNetwork, nil, errNetwork, errNetwork}, false},
		"a key's, never": {[]error{wrongType, wrongType, wrongType, wrongType}, false},
		"a key's ends":   {[]error{errNetwork, errNetwork, wrongType, errNetwork}, false},
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
		h.Back()
		straggler()
		do(h, errNetwork)
		if !h.Back() || h.Away() {
			t.Error("Redis is not back")
		}
		end <- errNetwork
		synctest.Wait()
		if h.Away() {
			t.Error("a round trip that began before the last outage makes a new one")
		}
	})
}

// errClient is a client whose commands fail without a connection, after a while.
func errClient(t *testing.T) redis.UniversalClient {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true, MaxRetries: -1})
	rdb.AddHook(failing{})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

type failing struct{ redis.Hook }

func (failing) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { return io.ErrUnexpectedEOF }
}

func (failing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Between two probes that fail is about the interval, however often Recover is called.
func TestProbesArePaced(t *testing.T) {
	t.Parallel()
	rdb := errClient(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(t, rdb, Options{Failures: 1, ProbeInterval: time.Second})
		do(h, errNetwork)
		probes := 0
		for range 100 {
			if h.Recover(t.Context(), func(context.Context) error { return nil }) != nil {
				probes++
			}
			<-time.After(100 * time.Millisecond)
		}
		if probes < 10 || probes > 20 {
			t.Errorf("%d probes in 10 s, want one or two a second", probes)
		}
	})
}

func TestRecover(t *testing.T) {
	t.Parallel()
	server := testserver.Miniredis(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	h := newHealth(t, rdb, Options{Failures: 1, ProbeInterval: time.Millisecond, Timeout: time.Minute})
	do(h, errNetwork)
	recovered := func(catchUp error) error {
		<-time.After(time.Millisecond) // the next probe is due
		return h.Recover(t.Context(), func(context.Context) error {
			if catchUp == nil {
				h.Back()
			}
			return catchUp
		})
	}
	if err := recovered(errNetwork); !errors.Is(err, errNetwork) || !h.Away() {
		t.Errorf("catchUp failed: %v, away %t, want its error, away", err, h.Away())
	}
	if err := recovered(nil); err != nil || h.Away() {
		t.Errorf("catchUp succeeded: %v, away %t, want back", err, h.Away())
	}
	if keys := server.Keys(); len(keys) != 0 {
		t.Errorf("the probe wrote %v", keys)
	}
}

// replyError is an error in a server's reply.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

func TestServerFailed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{redis.Nil, false},
		{replyError("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
		{replyError("ERR value is not an integer or out of range"), false},
		{replyError("LOADING Redis is loading the dataset in memory"), true},
		{replyError("READONLY You can't write against a read only replica."), true},
		{replyError("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write"), true},
		{replyError("OOM command not allowed when used memory > 'maxmemory'."), true},
		{replyError("ERR max number of clients reached"), true},
		{replyError("NOPERM this user has no permissions"), true},
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{redis.ErrClosed, true},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("wrapped: %w", tt.err)} {
			if tt.err == nil {
				err = nil
			}
			if got := ServerFailed(err); got != tt.want {
				t.Errorf("%v: %t, want %t", err, got, tt.want)
			}
		}
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
