package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// connectTimeout bounds connecting, with TLS and the handshake of AMQP.
const connectTimeout = 10 * time.Second

// errURL takes the place of every error of parsing, because these repeat parts of the URL, which may be the password.
var errURL = errors.New("expected a URL such as amqps://user:password@host:5671/vhost; " +
	"is a special character in the password not escaped, such as / (%2F), # (%23) or % (%25)?")

// Address is the server's host:port, without credentials. An error says what a URL must look like, and nothing of this
// one.
func (s Server) Address() (string, error) {
	u, err := amqp.ParseURI(s.URL)
	if _, notIP := netip.ParseAddr(u.Host); err != nil || notIP != nil && strings.Contains(u.Host, ":") { // without its @
		return "", errURL
	}
	return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), nil
}

// explain says whose error it is.
func (s Server) explain(err error) error {
	addr, _ := s.Address() // it was checked
	return fmt.Errorf("RabbitMQ at %s: %w", addr, err)
}

func (s Server) validate() error {
	_, err := s.Address()
	return err
}

// dial connects. The connection has no recovery: see the package comment.
func (s Server) dial(ctx context.Context) (*amqp.Connection, error) {
	var raw net.Conn
	detach := func() bool { return true }
	config := amqp.Config{
		Properties: amqp.NewConnectionProperties(),
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: connectTimeout}
			conn, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			raw, detach = conn, context.AfterFunc(ctx, func() { _ = conn.Close() }) // the handshake does not look at ctx
			return conn, conn.SetDeadline(time.Now().Add(connectTimeout))           // the library takes it away after the handshake
		},
	}
	config.Properties.SetClientConnectionName("arrakis")
	if s.TLS != nil {
		config.TLSClientConfig = s.TLS.Clone() // the library writes the server's name to it
	}
	conn, err := amqp.DialConfig(s.URL, config)
	detach() // from now on, the connection outlives ctx
	if err != nil {
		if raw != nil {
			_ = raw.Close() // the library leaves it open after a handshake that failed
		}
		return nil, err
	}
	return conn, nil
}

// Refused reports whether RabbitMQ has understood what was asked and does not allow it, or does not know the queue or
// exchange. While a node of a cluster is down, its queues are not found either.
func Refused(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && slices.Contains([]int{amqp.AccessRefused, amqp.NotFound, amqp.NotAllowed, amqp.ResourceLocked, amqp.PreconditionFailed}, e.Code)
}
