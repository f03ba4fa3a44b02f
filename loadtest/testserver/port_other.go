//go:build !linux

package testserver

import (
	"net"
	"testing"
)

// address is an address of the loopback that nobody listens on. The port is the
// kernel's choice. Nothing holds it here, as it is held on Linux: redis-server
// is started on another when somebody has taken it, the rest trusts in luck.
func address(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it has taken no connection
	return l.Addr().String()
}
