// Package certs makes the TLS of an HTTP address from PEM files. It reads the files again when they change, so that a
// certificate is renewed, or a CA replaced, without a restart.
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// lookEvery is the least time between two looks at the files. It bounds the work that handshakes cause, and how
	// long a change takes to be in force.
	lookEvery = time.Second
	// maxFile bounds a file in bytes.
	maxFile = 1 << 20
)

// Files are the paths of PEM files.
type Files struct {
	Cert string // the server's certificate, followed by intermediate ones
	Key  string // the key of the server's certificate
	// ClientCA are the CAs of client certificates. If it is set, every client needs a certificate (mutual TLS).
	ClientCA string
}

// Config makes the TLS of a server, for [tls.NewListener]. It takes TLS 1.2 and 1.3, and HTTP/2. An error names the
// file that cannot be used; it never repeats what is in the file.
//
// A handshake looks at the files if nobody did so within the last second, and uses what they hold now. Files that
// cannot be used leave those before them in force; the log says so once for each change. Connections that are open
// already stay as they are.
func Config(f Files, log *slog.Logger) (*tls.Config, error) {
	c, seen, err := f.read()
	if err != nil {
		return nil, err
	}
	s := &source{files: f, log: log, seen: seen, looked: time.Now()}
	s.current.Store(c)
	return &tls.Config{
		MinVersion:         c.MinVersion,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.at(time.Now()), nil },
	}, nil
}

// NotAfter is when the server's certificate, as the files hold it now, expires. c must be made by Config. Like a
// handshake, NotAfter looks at the files if nobody did so within the last second.
func NotAfter(c *tls.Config) time.Time {
	current, err := c.GetConfigForClient(nil) // it needs nothing of a client, and never fails
	if err != nil {
		return time.Time{}
	}
	return current.Certificates[0].Leaf.NotAfter
}

// source is what the files held when they could last be used.
type source struct {
	files   Files // read-only
	log     *slog.Logger
	current atomic.Pointer[tls.Config]

	// mu is held while the files are read, but nobody waits for it.
	mu     sync.Mutex
	seen   digest    // of the files at the last look, whether they could be used or not
	looked time.Time // when the last look began
}

// at returns the TLS to use for a handshake at the time now.
func (s *source) at(now time.Time) *tls.Config {
	if s.mu.TryLock() { // otherwise another handshake is looking
		if now.Sub(s.looked) >= lookEvery {
			s.looked = now
			s.lookLocked()
		}
		s.mu.Unlock()
	}
	return s.current.Load()
}

// lookLocked puts the files in force if they have changed. The caller must hold s.mu.
func (s *source) lookLocked() {
	c, seen, err := s.files.read()
	if seen == s.seen {
		return
	}
	s.seen = seen
	if err != nil {
		s.log.Error("changed TLS files cannot be used: those before them stay in force; mend the files", "err", err)
		return
	}
	s.current.Store(c)
	s.log.Info("TLS files read again", "cert", s.files.Cert, "not_after", c.Certificates[0].Leaf.NotAfter)
}

// digest tells the contents of files, and errors of reading them, from others.
type digest [sha256.Size]byte

// read reads the files. The digest is set even if there is an error.
func (f Files) read() (*tls.Config, digest, error) {
	cert, errCert := readFile(f.Cert)
	key, errKey := readFile(f.Key)
	var ca []byte
	var errCA error
	if f.ClientCA != "" {
		ca, errCA = readFile(f.ClientCA)
	}
	err := errors.Join(errCert, errKey, errCA)
	seen := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %v", cert, key, ca, err))
	if err != nil {
		return nil, seen, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, seen, fmt.Errorf("%s with the key %s: %w", f.Cert, f.Key, err)
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair},
	}
	if f.ClientCA != "" {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(ca) {
			return nil, seen, fmt.Errorf("%s: has no certificate in PEM", f.ClientCA)
		}
		c.SessionTicketsDisabled = true // a resumed session would not be checked against the CAs in force
	}
	return c, seen, nil
}

// readFile reads a regular file. To wait for another one, such as a pipe, to be opened or read could take for ever.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	// What was opened is looked at, for the path may name another file by now.
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: is larger than %d bytes", path, maxFile)
	}
	return data, err
}
