//go:build !linux

package program

import "net"

// FreeAddr is an address on the loopback interface that nobody listens on. Unlike on Linux, nothing holds the port until
// a server listens there.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
