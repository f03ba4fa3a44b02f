package testserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// PostgresServer is a PostgreSQL cluster with files and a process of its own, and with the superuser arrakis.
type PostgresServer struct {
	tb   testing.TB // nil: it is of no test
	addr string
	dir  string // has the cluster's files in data
	argv []string
	as   *syscall.Credential // the user that the process runs as; nil is the user of this process

	process *process // nil while none runs
}

// Postgres starts a PostgreSQL server and ends it with the test. The settings, such as "fsync=off", win over the
// defaults of PostgreSQL. By default a commit is on disk before its answer, so a killed server keeps it.
func Postgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	s := newPostgres(tb, settings)
	tb.Cleanup(s.Close)
	return s
}

// newPostgres starts a server for a test. The caller must close it.
func newPostgres(tb testing.TB, settings []string) *PostgresServer {
	tb.Helper()
	s, err := startPostgres(Program(tb, "postgres", postgresDirs()...), address(tb), settings)
	if err != nil {
		tb.Fatal(err)
	}
	s.tb = tb
	return s
}

// StartPostgres starts a PostgreSQL server at an address for a program that is not a test, which must close it.
func StartPostgres(addr string, settings ...string) (*PostgresServer, error) {
	path, err := program("postgres", postgresDirs()...)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL is not installed: `apt-get install postgresql` or `brew install postgresql`: %w", err)
	}
	return startPostgres(path, addr, settings)
}

// startPostgres makes a cluster in a new directory and starts its server.
func startPostgres(path, addr string, settings []string) (*PostgresServer, error) {
	s := &PostgresServer{addr: addr}
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(s.addr)
	s.argv = []string{path, "-D", filepath.Join(s.dir, "data")}
	for _, setting := range slices.Concat([]string{
		"listen_addresses=127.0.0.1", "port=" + port, "unix_socket_directories=", "max_connections=200", "shared_buffers=16MB",
	}, settings) {
		s.argv = append(s.argv, "-c", setting)
	}
	err := s.init()
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// postgresDirs are the directories of Debian's programs, the newest version first. They are not on the PATH.
func postgresDirs() []string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is good
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 is the oldest
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	return dirs
}

// makeDir makes the directory. PostgreSQL refuses to run as root. So root makes the directory for another user, and not
// inside of the test's directory, which only root can enter.
func (s *PostgresServer) makeDir() (err error) {
	s.dir, err = os.MkdirTemp("", "arrakis-postgres-")
	if err != nil || os.Getuid() != 0 {
		return err
	}
	u, err := user.Lookup("postgres") // Debian's package makes it
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

// command returns a command that runs as the server's user. Settings of the test's environment do not reach it.
func (s *PostgresServer) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = s.dir, []string{"LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

// init makes the cluster's files. Whoever connects is trusted, with any password.
func (s *PostgresServer) init() error {
	out, err := s.command(filepath.Join(filepath.Dir(s.argv[0]), "initdb"), "-D", filepath.Join(s.dir, "data"),
		"--username=arrakis", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// Addr is the server's host:port.
func (s *PostgresServer) Addr() string { return s.addr }

// URL is the URL of the database postgres, which each cluster has, and which is empty.
func (s *PostgresServer) URL() string { return s.url("postgres") }

func (s *PostgresServer) url(database string) string {
	return fmt.Sprintf("postgres://arrakis@%s/%s?sslmode=disable", s.addr, database)
}

// Start starts a killed server of a test again, at its address and with its files. It returns when the server has
// recovered.
func (s *PostgresServer) Start() {
	s.tb.Helper()
	if err := s.start(); err != nil {
		s.tb.Fatal(err)
	}
}

// Kill ends all processes of the server at once, as a crash does. It does nothing if no process runs.
func (s *PostgresServer) Kill() {
	if s.process == nil {
		return
	}
	// A stopped server starts no process, and buries none of its children, so that no other process gets their IDs.
	_ = s.process.cmd.Process.Signal(syscall.SIGSTOP) // it may have ended by itself
	for _, pid := range children(s.process.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	s.process.kill()
	s.process = nil
}

// children returns the children of a stopped process. It returns none where the system does not tell: the children of
// a killed server end by themselves, after what they are at.
func children(pid int) (pids []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// start starts the server and waits until it takes queries. No process runs after an error.
func (s *PostgresServer) start() (err error) {
	s.process, err = startProcess(s.command(s.argv...), s.ready)
	if err != nil {
		return fmt.Errorf("at %s: %w", s.addr, err)
	}
	return nil
}

// ready returns nil if the process says in its file, as it does to pg_ctl, that it takes queries. The file of a killed
// server has another process.
func (s *PostgresServer) ready(pid int) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	if lines[0] != strconv.Itoa(pid) || len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
		return fmt.Errorf("the file of the process says %q", text)
	}
	return nil
}

// Close ends the server, if it runs, and removes its files. A server that is asked to end gives back its shared memory,
// unlike one that is killed.
func (s *PostgresServer) Close() {
	if s.process != nil {
		_ = s.process.cmd.Process.Signal(syscall.SIGQUIT) // at once, and without a checkpoint
		<-s.process.ended
		s.process = nil
	}
	_ = os.RemoveAll(s.dir) // the system clears temporary files anyway
}
