package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA issues certificates for servers at 127.0.0.1 and localhost, and for clients.
type CA struct {
	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	File string // the CA's certificate
	Pool *x509.CertPool
}

// NewCA makes a CA. Its files end with the test.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	ca := &CA{tb: tb, Pool: x509.NewCertPool()}
	der, key := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	var err error
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	ca.key = key
	ca.File = filepath.Join(tb.TempDir(), "ca.pem")
	ca.write(ca.File, "CERTIFICATE", der)
	ca.Pool.AddCert(ca.cert)
	return ca
}

// Issue writes a certificate for name, and its key, to the files name.pem and name.key in dir.
func (ca *CA) Issue(dir, name string) (cert, key string) {
	ca.tb.Helper()
	der, private := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		ca.tb.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	ca.write(cert, "CERTIFICATE", der)
	ca.write(key, "PRIVATE KEY", keyDER)
	return cert, key
}

// Client issues a certificate for a client.
func (ca *CA) Client(name string) tls.Certificate {
	ca.tb.Helper()
	pair, err := tls.LoadX509KeyPair(ca.Issue(ca.tb.TempDir(), name))
	if err != nil {
		ca.tb.Fatal(err)
	}
	return pair
}

// sign makes a certificate that is valid for an hour, signed by the CA. The CA's own is signed by itself.
func (ca *CA) sign(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	ca.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.tb.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		ca.tb.Fatal(err)
	}
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer); err != nil {
		ca.tb.Fatal(err)
	}
	return der, key
}

func (ca *CA) write(path, kind string, der []byte) {
	ca.tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.tb.Fatal(err)
	}
}
