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

	"arrakis/pipeline/worker"
)

// answerTimeout bounds the wait for a server's answer.
const answerTimeout = 5 * time.Second

// options makes the NATS options from the settings.
func (s *natsSettings) options() []nats.Option {
	o := []nats.Option{nats.Name("arrakis"), nats.Timeout(answerTimeout)}
	if s.Creds != "" {
		o = append(o, nats.UserCredentials(s.Creds))
	}
	if s.NKey != "" {
		o = append(o, func(o *nats.Options) error {
			nkey, err := nats.NkeyOptionFromSeed(s.NKey)
			if err != nil {
				return fmt.Errorf("NATS_NKEY: %w", err)
			}
			return nkey(o)
		})
	}
	if s.Token != "" {
		o = append(o, nats.Token(s.Token))
	}
	if s.TLSCA != "" {
		o = append(o, nats.RootCAs(s.TLSCA))
	}
	if s.TLSCert != "" {
		o = append(o, nats.ClientCert(s.TLSCert, s.TLSKey))
	}
	return o
}

// openNATS makes a worker's connection. It connects in the background, and reconnects whenever it is lost.
func openNATS(s *natsSettings, log *slog.Logger) (*nats.Conn, error) {
	nc, err := nats.Connect(s.URL, append(
		s.options(),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(250*time.Millisecond<<min(attempts, 10), 5*time.Second)
			return d - rand.N(d/4) //nolint:gosec // jitter, so that processes that started together do not reconnect together
		}),
		nats.ConnectHandler(func(c *nats.Conn) {
			log.Info("connected to NATS", "server", c.ConnectedUrlRedacted(), "version", c.ConnectedServerVersion())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when arrakis closed the connection
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

// closeNATS closes the connection. It does not wait for a server that does not read any more.
func closeNATS(nc *nats.Conn) {
	closed := make(chan struct{})
	go func() { defer close(closed); nc.Close() }() // outlives the wait only in a process that ends
	select {
	case <-closed:
	case <-time.After(100 * time.Millisecond):
	}
}

// connectNATS connects a command of the CLI to NATS. It fails at once if NATS does not answer.
func connectNATS(s *natsSettings) (*nats.Conn, error) {
	nc, err := nats.Connect(s.URL, append(s.options(), nats.MaxReconnects(-1))...) // for a command that watches
	return nc, natsError(s.URL, err)
}

func natsError(urls string, err error) error {
	if err == nil {
		return nil
	}
	hint := "is it running? Set --nats-url or NATS_URL, or try `arrakis dev`"
	if worker.RefusesUser(err) {
		hint = "it runs, but refuses this user: check the one in --nats-url or NATS_URL, or NATS_CREDS, NATS_NKEY or NATS_TOKEN"
	}
	return fmt.Errorf("connect to NATS at %s: %w; %s", withoutSecrets(urls), withoutURL(err), hint)
}

// connectRedis makes a Redis client for a command of the CLI. It fails at once if Redis does not answer.
func connectRedis(ctx context.Context, s *redisSettings) (redis.UniversalClient, error) {
	target, err := parseRedisURL(s.URL)
	if err != nil {
		return nil, usageError{err}
	}
	rdb := newRedis(target, 0)
	if err := ping(ctx, rdb); err != nil {
		_ = rdb.Close() // the error of the ping matters, not that of Close
		hint := "is it running? Set --redis-url or REDIS_URL, or try `arrakis dev`"
		if worker.RefusesUser(err) {
			hint = "it runs, but refuses this user: check user and password in --redis-url or REDIS_URL, and the user's rules (docs/security.md)"
		}
		return nil, fmt.Errorf("reach Redis at %s: %w; %s", target, err, hint)
	}
	return rdb, nil
}

func ping(ctx context.Context, rdb redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return rdb.Ping(ctx).Err()
}

// withoutSecrets removes the credentials from a list of NATS servers.
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
