package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
)

// answerTimeout bounds the wait for the answer of a server that is asked whether it is there.
const answerTimeout = 5 * time.Second

// options are the NATS options that the settings stand for.
func (s *natsSettings) options() []nats.Option {
	o := []nats.Option{nats.Name("arrakis"), nats.Timeout(answerTimeout)}
	if s.Creds != "" {
		o = append(o, nats.UserCredentials(s.Creds))
	}
	if s.TLSCA != "" {
		o = append(o, nats.RootCAs(s.TLSCA))
	}
	if s.TLSCert != "" {
		o = append(o, nats.ClientCert(s.TLSCert, s.TLSKey))
	}
	return o
}

// openNATS makes a worker's connection, which connects in the background, now
// and whenever it is lost.
func openNATS(s *natsSettings, log *slog.Logger) (*nats.Conn, error) {
	nc, err := nats.Connect(s.URL, append(
		s.options(),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(250*time.Millisecond<<min(attempts, 10), 5*time.Second)
			return d - rand.N(d/4) //nolint:gosec // jitter: processes that started together do not ask together
		}),
		nats.ConnectHandler(func(c *nats.Conn) {
			log.Info("connected to NATS", "server", c.ConnectedUrlRedacted(), "version", c.ConnectedServerVersion())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when the connection was closed by us
				log.Warn("NATS connection lost: reconnecting", "err", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			log.Info("NATS connection is back", "server", c.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("NATS reports an error", "subject", subject, "err", err)
		}),
	)...)
	return nc, natsError(s.URL, err)
}

// connectNATS connects a command of the CLI, or says why not at once.
func connectNATS(s *natsSettings) (*nats.Conn, error) {
	nc, err := nats.Connect(s.URL, s.options()...)
	return nc, natsError(s.URL, err)
}

func natsError(urls string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("connect to NATS at %s: %w; is it running? Set --nats-url or NATS_URL, or try `arrakis dev`",
		withoutSecrets(urls), withoutURL(err))
}

// connectRedis makes a client for a command of the CLI, or says at once why it
// does not answer.
func connectRedis(ctx context.Context, s *redisSettings) (redis.UniversalClient, error) {
	target, err := parseRedisURL(s.URL)
	if err != nil {
		return nil, err
	}
	rdb := newRedis(target)
	if err := ping(ctx, rdb); err != nil {
		_ = rdb.Close() // the ping's error is the one that counts
		return nil, fmt.Errorf("reach Redis at %s: %w; is it running? Set --redis-url or REDIS_URL, or try `arrakis dev`",
			target, err)
	}
	return rdb, nil
}

func ping(ctx context.Context, rdb redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return rdb.Ping(ctx).Err()
}

// withoutSecrets is a list of NATS servers without the credentials in it.
func withoutSecrets(urls string) string {
	var servers []string
	for server := range strings.SplitSeq(urls, ",") {
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		if u, err := url.Parse(strings.TrimSpace(server)); err == nil {
			servers = append(servers, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(servers, ",")
}
