package program

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

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

// NewRedis prepares a redis-server that keeps nothing on disk, with its log in dir, on a free address.
func NewRedis(dir string) (server *Process, addr string, err error) {
	path, err := RedisServer()
	if err != nil {
		return nil, "", err
	}
	if addr, err = FreeAddr(); err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(addr) // it has a port
	return &Process{Name: "redis", Path: path, Log: filepath.Join(dir, "redis.log"), Args: []string{
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no",
	}}, addr, nil
}

// FreeAddrs are n different addresses on the loopback interface that nobody listens on.
func FreeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		addr, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		addrs[i] = addr
	}
	return addrs, nil
}
