package program

import (
	"fmt"
	"net"
	"syscall"
)

// FreeAddr is an address on the loopback interface that nobody listens on. The kernel chooses the port. A socket that is
// bound but does not listen holds it until this process ends, so that the kernel gives it to nobody who asks for any
// free port. A server that asks for this port, with SO_REUSEADDR as servers do, gets it, also after a restart.
func FreeAddr() (string, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open a socket: %w", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return "", fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", fmt.Errorf("bind a port: %w", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("read the port: %w", err)
	}
	in4, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		return "", fmt.Errorf("read the port: an address of type %T", bound)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(in4.Port)), nil
}
