//go:build !linux

package testserver

import (
	"net"
	"testing"
)

// address returns a free address of the loopback. The kernel chooses the port. Unlike on Linux, nothing holds the port,
// so another process may take it. Then redis-server is started on another port, but a test with any other server fails.
func address(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // no connection was accepted
	return l.Addr().String()
}
