package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/http/certs"
	"arrakis/pipeline/worker"
)

func (s *tlsSettings) http() certs.Files {
	return certs.Files{Cert: s.HTTPTLSCert, Key: s.HTTPTLSKey, ClientCA: s.HTTPTLSClientCA}
}

func (s *tlsSettings) ops() certs.Files {
	return certs.Files{Cert: s.OpsTLSCert, Key: s.OpsTLSKey, ClientCA: s.OpsTLSClientCA}
}

func (s *tlsSettings) validate() error {
	return errors.Join(validTLS("HTTP_TLS", s.http()), validTLS("OPS_TLS", s.ops()))
}

// validTLS checks the files of one address. prefix begins the names of their settings.
func validTLS(prefix string, f certs.Files) error {
	switch {
	case f == certs.Files{}:
		return nil
	case (f.Cert == "") != (f.Key == ""):
		return fmt.Errorf("%s_CERT and %[1]s_KEY belong together: set both or neither", prefix)
	case f.Cert == "":
		return fmt.Errorf("%s_CLIENT_CA needs %[1]s_CERT and %[1]s_KEY: set them too", prefix)
	}
	err := errors.Join(validPath(prefix+"_CERT", f.Cert), validPath(prefix+"_KEY", f.Key), validPath(prefix+"_CLIENT_CA", f.ClientCA))
	if err != nil {
		return err
	}
	if _, err := certs.Config(f, slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("%s_CERT, %[1]s_KEY or %[1]s_CLIENT_CA: %w", prefix, err)
	}
	return nil
}

// listenTLS listens on addr, for TLS if there are files; then it registers when the certificate expires, under the name of
// the address.
func listenTLS(name, addr string, f certs.Files, o *worker.Options) (net.Listener, error) {
	if (f == certs.Files{}) {
		return net.Listen("tcp", addr)
	}
	c, err := certs.Config(f, o.Logger)
	if err != nil {
		return nil, err
	}
	promauto.With(o.Registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "arrakis_tls_not_after_timestamp_seconds",
		Help:        "Unix time at which the certificate of an address expires. No series without TLS.",
		ConstLabels: prometheus.Labels{"address": name},
	}, func() float64 { return float64(certs.NotAfter(c).Unix()) })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, c), nil
}
