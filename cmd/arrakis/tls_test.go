package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// tlsClient trusts the CA and has the certificates.
func tlsClient(t *testing.T, ca *testserver.CA, certificates ...tls.Certificate) *http.Client {
	t.Helper()
	c := newClient(t)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{ //nolint:forcetypeassert // of newClient
		RootCAs: ca.Pool, Certificates: certificates, MinVersion: tls.VersionTLS12,
	}
	return c
}

// TestTLS: HTTPS on the ingress, mutual TLS on the ops address, beside their tokens, and a renewal without a restart.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, clients, dir := testserver.NewCA(t), testserver.NewCA(t), t.TempDir()
	cert, key := ca.Issue(dir, "server")
	d := startDev(t, "--http-tls-cert", cert, "--http-tls-key", key, "--ops-tls-cert", cert, "--ops-tls-key", key,
		"--ops-tls-client-ca", clients.File, "--admin-token=s3cret")
	if !strings.HasPrefix(d.ingress, "https://") || !strings.HasPrefix(d.ops, "https://") {
		t.Fatalf("the banner says %s and %s", d.ingress, d.ops)
	}
	d.client = tlsClient(t, ca)
	if r := d.command(t, "comm_000", "ping", "{}"); r.status != http.StatusOK {
		t.Errorf("status %d, %s", r.status, r.body)
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.ops+"/v1/tenants", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.client.Do(q); err == nil {
		_ = r.Body.Close() // not read
		t.Errorf("the ops address without a certificate: %s", r.Status)
	}
	known := tlsClient(t, ca, clients.Client("operator"))
	if r := do(t, known, http.MethodGet, d.ops+"/readyz", ""); r.status != http.StatusOK {
		t.Errorf("with a certificate: status %d", r.status)
	}
	if r := do(t, known, http.MethodGet, d.ops+"/v1/tenants", ""); r.status != http.StatusUnauthorized {
		t.Errorf("with a certificate and without the token: status %d", r.status)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"http", "ops"} {
		want := fmt.Sprintf("arrakis_tls_not_after_timestamp_seconds{address=%q} %v\n", address, float64(pair.Leaf.NotAfter.Unix()))
		if r := do(t, known, http.MethodGet, d.ops+"/metrics", ""); !strings.Contains(string(r.body), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}

	// Renewed by a CA that the clients did not trust before.
	next := testserver.NewCA(t)
	renewed, renewedKey := next.Issue(t.TempDir(), "renewed")
	for from, to := range map[string]string{renewed: cert, renewedKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Succeeds(t, "the renewed certificate is served", func() error {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.ingress+"/healthz", http.NoBody)
		if err != nil {
			return err
		}
		c := tlsClient(t, next)
		r, err := c.Do(q)
		if err != nil {
			return err
		}
		return r.Body.Close()
	})
}

func TestTLSFaults(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	cert, key := ca.Issue(t.TempDir(), "a")
	_, other := ca.Issue(t.TempDir(), "b")
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"HTTP_TLS", "OPS_TLS"} {
		for _, tt := range []struct {
			cert, key, clientCA, want string
		}{
			{cert, "", "", "_CERT and " + prefix + "_KEY belong together"},
			{"", key, "", "_CERT and " + prefix + "_KEY belong together"},
			{"", "", ca.File, "_CLIENT_CA needs"},
			{"/no/such/file", key, "", "_CERT: stat /no/such/file"},
			{cert, string(secret), "", "_KEY: expected the path of a file"},
			{cert, other, "", "private key does not match"},
			{cert, cert, "", "private key"},
			{cert, key, key, "no certificate"},
		} {
			env := environment{
				"NATS_URL": "nats://127.0.0.1:1", "INGRESS_AUTH": "none",
				prefix + "_CERT": tt.cert, prefix + "_KEY": tt.key, prefix + "_CLIENT_CA": tt.clientCA,
			}
			r := arrakis(t, env, "serve")
			if r.code != exitUsage || !strings.HasPrefix(r.stderr, "arrakis: "+prefix) || !strings.Contains(r.stderr, tt.want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("%s %+v: exit code %d, %s", prefix, tt, r.code, r.stderr)
			}
			if strings.Contains(r.stderr, strings.Split(string(secret), "\n")[1]) {
				t.Errorf("%s has the key", r.stderr)
			}
		}
	}
}
