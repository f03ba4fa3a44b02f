package rabbitmq

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"arrakis/loadtest/testserver"
)

// secured is the address of a listener for TLS in front of RabbitMQ, and the CA of its certificate.
func secured(t *testing.T, target string) (addr string, ca *testserver.CA) {
	t.Helper()
	ca = testserver.NewCA(t)
	cert, key := ca.Issue(t.TempDir(), "server")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer client.Close() //nolint:errcheck // the other side ends it
				server, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer server.Close()                                                 //nolint:errcheck // the other side ends it
				wg.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() }) // ends with either
				_, _ = io.Copy(server, client)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), ca
}

func TestTLS(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	addr, ca := secured(t, b.rabbit.Addr())
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	b.send(t, command(1))
	url := "amqps://guest:guest@" + addr + "/"
	for name, s := range map[string]Server{
		"a CA of the options": {URL: url, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		"a CA in the URL":     {URL: url + "?cacertfile=" + ca.File},
	} {
		o := b.options()
		o.Server = s
		if p, err := Look(t.Context(), o); err != nil || len(p.Messages) != 1 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	o := b.options()
	o.Server.URL = url
	if _, err := Look(t.Context(), o); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("of an unknown CA: %v", err)
	}
}
