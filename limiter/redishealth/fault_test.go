package redishealth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// errDocument is what a caller makes of a document that it cannot use. Its text may be anybody's.
var errDocument = fmt.Errorf("the document cannot be used: %w", errors.New(`tier "redis: connection pool timeout"`))

// F1: only the faults of the connection, and a server that says it cannot serve, mean that Redis is away.
func TestServerFailed(t *testing.T) {
	t.Parallel()
	syntax := json.Unmarshal([]byte("{"), new(int))
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{redis.Nil, false},
		{replyError("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
		{replyError("ERR value is not an integer or out of range"), false},
		{replyError("NOPERM this user has no permissions"), false},
		{replyError("LOADING Redis is loading the dataset in memory"), true},
		{replyError("READONLY You can't write against a read only replica."), true},
		{replyError("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write"), true},
		{replyError("OOM command not allowed when used memory > 'maxmemory'."), true},
		{replyError("CLUSTERDOWN The cluster is down"), true},
		{replyError("MASTERDOWN Link with MASTER is down"), true},
		{replyError("ERR max number of clients reached"), true},
		{replyError("WRONGPASS invalid username-password pair"), true},

		{errDocument, false},
		{syntax, false},
		{errors.New("connection refused"), false},
		{context.Canceled, false},
		{os.ErrNotExist, false},

		{io.EOF, true},
		{io.ErrUnexpectedEOF, true},
		{context.DeadlineExceeded, true},
		{os.ErrDeadlineExceeded, true},
		{net.ErrClosed, true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{syscall.ECONNRESET, true},
		{&net.DNSError{Err: "no such host", Name: "redis"}, true},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, true},
		{redis.ErrClosed, true},
		{redis.ErrPoolTimeout, true},
		{redis.ErrPoolExhausted, true},
		{errors.New("redis: all sentinels specified in configuration are unreachable"), true},
		{errors.New("redis: cluster has no nodes"), true},
		{errors.Join(errDocument, io.EOF), true},
	} {
		if got := ServerFailed(tt.err); got != tt.want {
			t.Errorf("%v: %t, want %t", tt.err, got, tt.want)
		}
		if tt.err == nil {
			continue
		}
		for _, err := range []error{fmt.Errorf("wrapped: %w", tt.err), errors.Join(errors.New("other"), tt.err)} {
			if got := ServerFailed(err); got != tt.want {
				t.Errorf("%v: %t, want %t", err, got, tt.want)
			}
		}
	}
}

// F1: the errors that the client makes when there is no server, of each kind of client, count.
func TestClientsErrorsCount(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.Addr().String()
	_ = closed.Close() // nobody listens there now
	for name, rdb := range map[string]redis.UniversalClient{
		"single":   redis.NewClient(&redis.Options{Addr: addr, DialerRetries: 1, MaxRetries: -1}),
		"cluster":  redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}, DialerRetries: 1, MaxRedirects: -1}),
		"sentinel": redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{addr}, DialerRetries: 1, MaxRetries: -1}),
	} {
		h := newHealth(t, rdb, Options{Failures: 1})
		err := h.DoKey(t.Context(), "k", func(ctx context.Context) error { return rdb.Get(ctx, "k").Err() })
		if !errors.Is(err, ErrAway) || !h.Away() || !h.KeyAway("other") {
			t.Errorf("%s: %v, away %t, want ErrAway, away", name, err, h.Away())
		}
		_ = rdb.Close() // nothing is pending
	}
}
