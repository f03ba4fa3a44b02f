package program

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSServer is the whole of the nats-server program: its flags, its server. A program that starts itself again to be
// its nats-server needs no build of one, and the version is that of go.mod.
func NATSServer(args []string) error {
	opts, err := server.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ExitOnError), args,
		server.PrintServerAndExit, func() { os.Exit(2) }, server.PrintTLSHelpAndDie)
	if err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	s.ConfigureLogger()
	if err := server.Run(s); err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	s.WaitForShutdown()
	return nil
}

// RedisServer is the path of the redis-server that is installed.
func RedisServer() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("redis-server is not on the PATH: install it with `apt-get install redis-server`, " +
			"`brew install redis` or `dnf install redis`")
	}
	return path, nil
}

// FreeAddrs are n different addresses on the loopback interface that nobody listens on.
func FreeAddrs(n int) (addrs []string, err error) {
	listeners := make([]net.Listener, 0, n) // all at once, so that no port comes twice
	defer func() {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// FreeAddr is an address that nobody listens on.
func FreeAddr() (string, error) {
	addrs, err := FreeAddrs(1)
	if err != nil {
		return "", err
	}
	return addrs[0], nil
}
