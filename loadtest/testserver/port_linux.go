package testserver

import (
	"fmt"
	"net"
	"syscall"
	"testing"
)

// address returns a free address of the loopback. Connections to it are refused until a server of this test listens
// there. The kernel chooses the port. A socket that is bound but does not listen holds the port until the test ends. So
// the kernel gives the port to no process that asks for any free port. A server that asks for this port, with
// SO_REUSEADDR as servers do, gets it, also after a restart.
func address(tb testing.TB) string {
	tb.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatalf("open a socket: %v", err)
	}
	tb.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		tb.Fatalf("set SO_REUSEADDR: %v", err)
	}
	loopback := [4]byte{127, 0, 0, 1}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: loopback}); err != nil {
		tb.Fatalf("bind a port: %v", err)
	}
	bound, err := syscall.Getsockname(fd)
	in4, ok := bound.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		tb.Fatalf("read the port: %v, %T", err, bound)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(in4.Port))
}
