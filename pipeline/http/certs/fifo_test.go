//go:build unix

package certs

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// A file that had become a pipe held up the handshake that looked at it for ever, and with it every later look.
func TestPipe(t *testing.T) {
	ca, dir := testserver.NewCA(t), t.TempDir()
	cert, key := ca.Issue(dir, "server")
	f := Files{Cert: cert, Key: key}
	c, seen, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	now := time.Now()
	s := &source{files: f, log: slog.New(slog.NewTextHandler(&log, nil)), seen: seen, looked: now}
	s.current.Store(c)
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pipe, cert); err != nil {
		t.Fatal(err)
	}
	looked := make(chan *tls.Config, 1)
	go func() { looked <- s.at(now.Add(time.Minute)) }()
	select {
	case got := <-looked:
		if got != c || !strings.Contains(log.String(), "not a regular file") {
			t.Errorf("in force: %p, want %p; log: %s", got, c, log.String())
		}
	case <-time.After(testserver.Patience):
		t.Fatal("the handshake waits for somebody to write to the pipe")
	}
}
