package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replace swaps a symbolic link, as Kubernetes does when a secret changes: all files in it change at once.
func replace(t *testing.T, link, target string) {
	t.Helper()
	if err := os.Symlink(target, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// serve serves HTTPS until the test ends, and returns its address.
func serve(t *testing.T, c *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto)
		}),
		ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		_ = s.Serve(tls.NewListener(l, c)) // http.ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// get makes one request over a connection of its own, and returns the body and the server's name in its certificate.
func get(ctx context.Context, address string, c *tls.Config) (body, name string, err error) {
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address, http.NoBody)
	if err != nil {
		return "", "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(resp.Body)
	return string(b), resp.TLS.PeerCertificates[0].Subject.CommonName, err
}

// TestRenewal: a certificate that is replaced is used for the next handshakes, without a restart, over HTTP/2.
func TestRenewal(t *testing.T) {
	ca := testserver.NewCA(t)
	dir := t.TempDir()
	first, second := t.TempDir(), t.TempDir()
	for folder, name := range map[string]string{first: "first", second: "second"} {
		cert, key := ca.Issue(folder, name)
		if err := os.Rename(cert, filepath.Join(folder, "tls.crt")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(key, filepath.Join(folder, "tls.key")); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "secret")
	replace(t, link, first)
	c, err := Config(Files{Cert: filepath.Join(link, "tls.crt"), Key: filepath.Join(link, "tls.key")}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, c)
	client := &tls.Config{RootCAs: ca.Pool, MinVersion: tls.VersionTLS12}
	if proto, name, err := get(t.Context(), address, client); err != nil || name != "first" || proto != "HTTP/2.0" {
		t.Fatalf("%s %s %v", proto, name, err)
	}
	replace(t, link, second)
	testserver.Eventually(t, "the new certificate is served", func() bool {
		_, name, err := get(t.Context(), address, client)
		return err == nil && name == "second"
	})
	pair, err := tls.LoadX509KeyPair(filepath.Join(second, "tls.crt"), filepath.Join(second, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := NotAfter(c), pair.Leaf.NotAfter; !got.Equal(want) {
		t.Errorf("the certificate expires at %v, want %v", got, want)
	}
	old := &tls.Config{RootCAs: ca.Pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if _, _, err := get(t.Context(), address, old); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// TestMutual: with a client CA nobody gets in without a certificate of that CA, and when the CA is replaced nobody with
// one of the CA before.
func TestMutual(t *testing.T) {
	ca, next, stranger := testserver.NewCA(t), testserver.NewCA(t), testserver.NewCA(t)
	cert, key := ca.Issue(t.TempDir(), "server")
	clientCA := filepath.Join(t.TempDir(), "client-ca")
	replace(t, clientCA, ca.File)
	c, err := Config(Files{Cert: cert, Key: key, ClientCA: clientCA}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, c)
	// One cache for all connections of a client: a resumed session must not replace the check.
	client := func(certificates ...tls.Certificate) *tls.Config {
		return &tls.Config{
			RootCAs: ca.Pool, Certificates: certificates, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(8),
		}
	}
	known, unknown, none := client(ca.Client("known")), client(stranger.Client("stranger")), client()
	if body, _, err := get(t.Context(), address, known); err != nil || body != "HTTP/2.0" {
		t.Fatalf("%s %v", body, err)
	}
	for name, c := range map[string]*tls.Config{"no certificate": none, "a stranger's": unknown} {
		if body, _, err := get(t.Context(), address, c); err == nil {
			t.Errorf("%s: %s", name, body)
		}
	}
	replace(t, clientCA, next.File)
	newcomer := client(next.Client("newcomer"))
	testserver.Succeeds(t, "a client of the new CA gets in", func() error { _, _, err := get(t.Context(), address, newcomer); return err })
	if body, _, err := get(t.Context(), address, known); err == nil {
		t.Errorf("a client of the old CA: %s", body)
	}
}

// TestBrokenFiles: files that cannot be used leave those before them in force, and are logged once.
func TestBrokenFiles(t *testing.T) {
	ca, dir := testserver.NewCA(t), t.TempDir()
	cert, key := ca.Issue(dir, "server")
	f := Files{Cert: cert, Key: key, ClientCA: ca.File}
	c, seen, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	now := time.Now()
	s := &source{files: f, log: slog.New(slog.NewTextHandler(&log, nil)), seen: seen, looked: now}
	s.current.Store(c)
	good, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey := ca.Issue(t.TempDir(), "other")
	step := func(what string, change func() error, lines int) {
		t.Helper()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		if s.at(now); log.Len() > 0 {
			t.Errorf("%s: looked within a second", what)
		}
		for range 3 {
			now = now.Add(lookEvery)
			if s.at(now) == nil {
				t.Errorf("%s: no certificate", what)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != lines {
			t.Errorf("%s: %d lines, want %d:\n%s", what, n, lines, log.String())
		}
		if strings.Contains(log.String(), strings.Split(string(secret), "\n")[1]) {
			t.Errorf("%s: the log has the key", what)
		}
	}
	step("nothing", func() error { return nil }, 0)
	step("no PEM", func() error { return os.WriteFile(cert, []byte("rubbish"), 0o600) }, 1)
	step("missing", func() error { return os.Remove(cert) }, 1)
	step("too large", func() error { return os.WriteFile(cert, make([]byte, maxFile+1), 0o600) }, 1)
	step("as before", func() error { return os.WriteFile(cert, good, 0o600) }, 1)
	step("another's key", func() error { return os.Rename(otherKey, key) }, 1)
	step("the key in place of the CA", func() error { return os.WriteFile(ca.File, secret, 0o600) }, 1)
	if s.at(now).Certificates[0].Leaf.Subject.CommonName != "server" {
		t.Error("the certificate is not the last good one")
	}
}

func TestConfigRefuses(t *testing.T) {
	ca := testserver.NewCA(t)
	cert, key := ca.Issue(t.TempDir(), "a")
	_, other := ca.Issue(t.TempDir(), "b")
	for _, f := range []Files{
		{}, {Cert: cert}, {Cert: cert, Key: "/no/such/file"}, {Cert: cert, Key: other}, {Cert: cert, Key: cert}, {Cert: cert, Key: key, ClientCA: key},
	} {
		if _, err := Config(f, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
}
