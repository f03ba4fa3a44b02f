package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"arrakis/pipeline/rabbitmq"
)

// rabbitMQSettings say how to reach RabbitMQ. No worker has them.
type rabbitMQSettings struct {
	URL     string `name:"rabbitmq-url" aliases:"url" group:"rabbitmq" placeholder:"URL" help:"amqp://user:password@host:5672/vhost, or amqps:// for TLS; --url is the same. Required. Better by the environment: what is on a command line can be seen by others."`
	TLSCA   string `name:"rabbitmq-tls-ca" group:"rabbitmq" placeholder:"FILE" help:"CA certificates to check the server's certificate. Default: the CA certificates of the system."`
	TLSCert string `name:"rabbitmq-tls-cert" group:"rabbitmq" placeholder:"FILE" help:"Client certificate."`
	TLSKey  string `name:"rabbitmq-tls-key" group:"rabbitmq" placeholder:"FILE" help:"Key of the client certificate."`
}

func (s *rabbitMQSettings) validate() error {
	if s.URL == "" {
		return errors.New("RABBITMQ_URL (--url) is missing: expected a URL such as amqps://user:password@host:5671/vhost")
	}
	_, err := s.server()
	return err
}

// server is the server with its files read.
func (s *rabbitMQSettings) server() (rabbitmq.Server, error) {
	server := rabbitmq.Server{URL: s.URL}
	var errs []error
	if _, err := server.Address(); err != nil {
		errs = append(errs, fmt.Errorf("RABBITMQ_URL (--url): %w", err))
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		errs = append(errs, errors.New("RABBITMQ_TLS_CERT and RABBITMQ_TLS_KEY belong together: set both or neither"))
	}
	for _, f := range []struct{ name, path string }{
		{"RABBITMQ_TLS_CA", s.TLSCA}, {"RABBITMQ_TLS_CERT", s.TLSCert}, {"RABBITMQ_TLS_KEY", s.TLSKey},
	} {
		errs = append(errs, validPath(f.name, f.path))
	}
	if err := errors.Join(errs...); err != nil || s.TLSCA == "" && s.TLSCert == "" {
		return server, err
	}
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TLSCA != "" {
		text, err := os.ReadFile(s.TLSCA)
		if err != nil {
			return server, fmt.Errorf("RABBITMQ_TLS_CA: %w", err)
		}
		if server.TLS.RootCAs = x509.NewCertPool(); !server.TLS.RootCAs.AppendCertsFromPEM(text) {
			return server, errors.New("RABBITMQ_TLS_CA: expected certificates in PEM")
		}
	}
	if s.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
		if err != nil {
			return server, fmt.Errorf("RABBITMQ_TLS_CERT, RABBITMQ_TLS_KEY: %w", err)
		}
		server.TLS.Certificates = []tls.Certificate{pair}
	}
	return server, nil
}
