package testserver

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQServer is a rabbitmq-server in a process of its own, with an epmd of its own, which Erlang asks for names of
// nodes.
type RabbitMQServer struct {
	tb   testing.TB
	addr string
	path string
	env  []string
	epmd *process // nil if it could not be started
	node *process // nil while none runs
}

// RabbitMQ starts a rabbitmq-server with its defaults, and kills it when the test ends. Its queues are in files of the
// test. The settings are lines of rabbitmq.conf, such as "max_message_size = 1000". A start takes some seconds: see
// SharedRabbitMQ.
func RabbitMQ(tb testing.TB, settings ...string) *RabbitMQServer {
	tb.Helper()
	s := newRabbitMQ(tb, tb.TempDir(), settings)
	tb.Cleanup(s.close)
	return s
}

// SharedRabbitMQ is a rabbitmq-server that the tests of a package share, because each start takes some seconds. A test
// must use only queues and exchanges that it has declared under names of its own, and must not kill the server. A package
// that uses it needs M, which ends the server after the tests.
func SharedRabbitMQ(tb testing.TB) *RabbitMQServer {
	tb.Helper()
	rabbitPrograms(tb)
	return sharedRabbit.open(tb)
}

// newRabbitMQ starts a server with its files in dir. The caller must close it.
func newRabbitMQ(tb testing.TB, dir string, settings []string) *RabbitMQServer {
	tb.Helper()
	server, epmd := rabbitPrograms(tb)
	s := &RabbitMQServer{tb: tb, addr: address(tb), path: server}
	_, distribution, _ := net.SplitHostPort(address(tb))
	_, names, _ := net.SplitHostPort(address(tb))
	env, err := RabbitMQEnv(dir, s.addr, distribution, names, settings...)
	if err != nil {
		tb.Fatal(err)
	}
	s.env = append(os.Environ(), env...)
	if err = s.startNames(epmd, names); err == nil {
		err = s.start()
	}
	if err != nil {
		s.close()
		tb.Fatal(err)
	}
	return s
}

// RabbitMQEnv writes the files of a rabbitmq-server into dir and returns the variables with which it, and its epmd, uses
// them and nothing of the system. Clients reach it at addr. The ports are for other nodes of Erlang, and for epmd.
func RabbitMQEnv(dir, addr, distributionPort, epmdPort string, settings ...string) ([]string, error) {
	config := append([]string{"listeners.tcp.1 = " + addr, "disk_free_limit.absolute = 1MB"}, settings...)
	for name, text := range map[string]string{
		"rabbitmq.conf": strings.Join(config, "\n") + "\n", "plugins": "[].\n", "env.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{
		"HOME=" + dir, "ERL_CRASH_DUMP=" + filepath.Join(dir, "crash"), // the cookie of Erlang is in HOME
		"ERL_EPMD_PORT=" + epmdPort, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=arrakis@localhost", "RABBITMQ_DIST_PORT=" + distributionPort,
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "env.conf"), // not the system's
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_ALLOW_INPUT=1", // so the script becomes the server, and does not wait for it as for a child
	}, nil
}

// RabbitMQScripts is where Debian has the server's own script, which runs as anybody. The one on the PATH is for root and
// becomes another user.
const RabbitMQScripts = "/usr/lib/rabbitmq/bin"

// startNames starts epmd and waits until it answers, without which rabbitmq-server ends at once.
func (s *RabbitMQServer) startNames(program, port string) (err error) {
	cmd := exec.Command(program, "-port", port, "-address", "127.0.0.1")
	s.epmd, err = startProcess(cmd, func(int) error {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return err
}

// rabbitPrograms returns the paths of rabbitmq-server and of epmd.
func rabbitPrograms(tb testing.TB) (server, epmd string) {
	tb.Helper()
	return Program(tb, "rabbitmq-server", RabbitMQScripts), Program(tb, "epmd")
}

// Addr is the server's host:port.
func (s *RabbitMQServer) Addr() string { return s.addr }

// URL is the URL for clients, with the name and the password of the user that RabbitMQ makes at first.
func (s *RabbitMQServer) URL() string {
	return (&url.URL{Scheme: "amqp", User: url.UserPassword("guest", "guest"), Host: s.addr, Path: "/"}).String()
}

// Channel returns a channel on a connection of its own that ends with the test, or before it with the server.
func (s *RabbitMQServer) Channel(tb testing.TB) *amqp.Channel {
	tb.Helper()
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		tb.Fatalf("connect to RabbitMQ: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close() }) // the server may be away
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatalf("open a channel of RabbitMQ: %v", err)
	}
	return ch
}

// Start starts a server again that was killed or stopped, at its address and with its files.
func (s *RabbitMQServer) Start() {
	s.tb.Helper()
	if err := s.start(); err != nil {
		s.tb.Fatal(err)
	}
}

// Kill ends the server's process at once, as a crash does. It does nothing if no process runs. RabbitMQ 3.10 keeps in memory
// for a while that a queue was declared, a quorum queue for minutes, and forgets the queue if it is killed then; killed soon
// after its first start, it may not start again. So call Settle before.
func (s *RabbitMQServer) Kill() {
	if s.node != nil {
		s.node.kill()
		s.node = nil
	}
}

// Settle ends the server in order and starts it again, so that all that was declared outlives a kill. Connections are lost.
func (s *RabbitMQServer) Settle() {
	s.tb.Helper()
	s.Stop()
	s.Start()
}

// Stop ends the server in order, as for an upgrade, and waits for its end.
func (s *RabbitMQServer) Stop() {
	s.tb.Helper()
	if err := s.node.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.tb.Fatalf("stop rabbitmq-server: %v", err)
	}
	select {
	case <-s.node.ended:
		s.node = nil
	case <-time.After(Patience):
		s.tb.Fatalf("rabbitmq-server runs %v after SIGTERM\n%s", Patience, &s.node.log)
	}
}

func (s *RabbitMQServer) close() {
	s.Kill()
	if s.epmd != nil {
		s.epmd.kill()
	}
}

// start starts the server and waits until clients are let in, which is after the queues have been read from their files.
func (s *RabbitMQServer) start() (err error) {
	cmd := exec.Command(s.path, "-noinput")
	cmd.Env = s.env
	s.node, err = startProcess(cmd, func(int) error {
		conn, err := amqp.Dial(s.URL())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return err
}

// sharedRabbit is the server of SharedRabbitMQ.
var sharedRabbit sharedRabbitMQ

type sharedRabbitMQ struct {
	mu     sync.Mutex // protects the fields below
	server *RabbitMQServer
	dir    string
}

func (s *sharedRabbitMQ) open(tb testing.TB) *RabbitMQServer {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return s.server
	}
	dir, err := os.MkdirTemp("", "arrakis-rabbitmq-") //nolint:usetesting // the directory outlives the test
	if err != nil {
		tb.Fatal(err)
	}
	s.dir = dir
	s.server = newRabbitMQ(tb, dir, nil)
	return s.server
}

// close ends the server, if a test has started it.
func (s *sharedRabbitMQ) close() {
	if s.server != nil {
		s.server.close()
	}
	_ = os.RemoveAll(s.dir) // the system clears temporary files anyway
}
