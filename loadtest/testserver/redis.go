package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisServer is a redis-server in a process of its own.
type RedisServer struct {
	tb   testing.TB
	addr string
	argv []string

	process *process // nil while none runs
}

// Redis starts a redis-server and kills it when the test ends. The settings are arguments of the program, such as
// "--appendonly", "yes", and win over the defaults of Redis. By default nothing is kept on disk.
func Redis(tb testing.TB, settings ...string) *RedisServer {
	tb.Helper()
	dir := tb.TempDir()
	s := newRedis(tb, func(port string) []string { return redisArgs(port, dir, settings) })
	tb.Cleanup(s.Kill)
	return s
}

func redisArgs(port, dir string, settings []string) []string {
	return append([]string{"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no"}, settings...)
}

// Sentinel starts a Sentinel that watches the master under the name, and kills the Sentinel when the test ends. The
// Sentinel fails over only on command: a master that stalls on a loaded machine counts as up for a minute.
func Sentinel(tb testing.TB, name string, master *RedisServer) *RedisServer {
	tb.Helper()
	dir := tb.TempDir()
	host, port, _ := net.SplitHostPort(master.addr)
	s := newRedis(tb, func(own string) []string {
		config := filepath.Join(dir, "sentinel-"+own+".conf") // the Sentinel writes to it
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[3]s 60000\n",
			own, dir, name, host, port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		return []string{config, "--sentinel"}
	})
	tb.Cleanup(s.Kill)
	return s
}

// newRedis starts redis-server with the arguments for a port. The caller must kill it. newRedis tries several ports,
// because the port of a cluster's bus, which is higher by 10,000, can be taken or out of range.
func newRedis(tb testing.TB, args func(port string) []string) *RedisServer {
	tb.Helper()
	path := Program(tb, "redis-server")
	s := &RedisServer{tb: tb}
	var err error
	for range 10 {
		s.addr = address(tb)
		_, port, _ := net.SplitHostPort(s.addr)
		s.argv = append([]string{path}, args(port)...)
		if err = s.start(); err == nil {
			return s
		}
	}
	tb.Fatal(err)
	return nil
}

// Addr is the server's host:port.
func (s *RedisServer) Addr() string { return s.addr }

// Client returns a client of ConnectRedis for this server.
func (s *RedisServer) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	return ConnectRedis(tb, s.addr)
}

// ConnectRedis returns a client that ends with the test. It waits for an answer for Patience, because a server may be
// slow on a loaded machine.
func ConnectRedis(tb testing.TB, addr string) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DialTimeout: Patience, ReadTimeout: Patience, DialerRetries: 1,
	})
	tb.Cleanup(func() { _ = c.Close() }) // nothing is pending
	return c
}

// Start starts a killed server again, at its address and with its files.
func (s *RedisServer) Start() {
	s.tb.Helper()
	if err := s.start(); err != nil {
		s.tb.Fatal(err)
	}
}

// Kill ends the process at once, as a crash does. It does nothing if no process runs.
func (s *RedisServer) Kill() {
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// start starts the process and waits until it answers. No process runs after an error.
func (s *RedisServer) start() (err error) {
	c := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, DialerRetries: 1})
	defer c.Close() //nolint:errcheck // nothing is pending
	s.process, err = startProcess(exec.Command(s.argv[0], s.argv[1:]...), func(pid int) error { return s.ask(c, pid) })
	if err != nil {
		return fmt.Errorf("at %s: %w", s.addr, err)
	}
	return nil
}

// ask returns nil if the process answers. Where the port is not held, another process may have got the same port and
// answer. PING, unlike INFO, is refused while the process loads its files.
func (s *RedisServer) ask(c *redis.Client, pid int) error {
	conn, err := net.Dial("tcp", s.addr) // first, because the client would log a failed connection
	if err != nil {
		return err
	}
	_ = conn.Close() // nothing was sent
	info, err := c.Info(context.Background(), "server").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, fmt.Sprintf("\r\nprocess_id:%d\r\n", pid)) {
		return errors.New("another process answers")
	}
	return c.Ping(context.Background()).Err()
}
