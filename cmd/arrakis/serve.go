package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"arrakis/pipeline/worker"
)

type serveCmd struct {
	natsSettings
	redisSettings
	recordSettings
	httpSettings
	discordSettings
	workerSettings
	tenantSettings
	streamSettings
	traceSettings
	logSettings
}

// validate reports all faults of the settings at once. All missing settings are one line of the error; each wrong
// setting is a line of its own.
func (c *serveCmd) validate(p process) error {
	var missing []string
	if c.natsSettings.URL == "" {
		need := "NATS_URL (such as nats://nats:4222"
		if value, _ := p.lookupEnv("RABBITMQ_URL"); value != "" {
			need += "; RABBITMQ_URL is no longer supported, NATS is the only broker"
		}
		missing = append(missing, need+")")
	}
	if c.IngressToken == "" && c.IngressAuth == "" {
		missing = append(missing, "INGRESS_TOKEN (or INGRESS_AUTH=none, to accept requests without a token)")
	}
	var errs []error
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("serve needs %s; to try arrakis without settings, run `arrakis dev`",
			strings.Join(missing, " and ")))
	}
	return errors.Join(append(errs, c.natsSettings.validate(), c.redisSettings.validate(), c.recordSettings.validate(), c.httpSettings.validate(), c.discordSettings.validate(),
		c.traceSettings.validate(p))...)
}

func (c *serveCmd) Run(ctx context.Context, p process) error {
	tuneGC(p)
	log := c.newLogger(p.stderr)
	reportRabbitMQ(p, log)
	target, err := parseRedisURL(c.redisSettings.URL)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "arrakis serve", "version", buildInfo().Version,
		"nats", withoutSecrets(c.natsSettings.URL), "redis", target.String(),
		"shards", c.Shards, "handler_concurrency", c.HandlerConcurrency, "max_attempts", c.MaxAttempts,
		"command_ttl", c.CommandTTL.String(), "limit_on_redis_down", string(c.LimitOnRedisDown),
		"ingress_auth", c.IngressToken != "", "discord", c.PublicKey != "" || c.ApplicationID != "")
	nc, err := openNATS(&c.natsSettings, log)
	if err != nil {
		return err
	}
	defer closeNATS(nc)
	rdb := newRedis(target, worker.RedisConnections(c.Shards))
	defer func() { _ = rdb.Close() }() // all users of rdb have ended
	o := workerOptions(&c.httpSettings, &c.workerSettings, &c.tenantSettings)
	o.NATS, o.Redis, o.Logger, o.Streams, o.Discord = nc, rdb, log, c.streamSettings.options(), c.discordOptions()
	if o.Record, err = c.open(ctx, log, o.Registry); err != nil {
		return err
	}
	if o.Record != nil {
		defer o.Record.Close()
		log.InfoContext(ctx, "PostgreSQL is the system of record", "postgres", o.Record.Address())
	}
	stopTraces, err := c.exportTraces(ctx, p, &o)
	if err != nil {
		return err
	}
	defer stopTraces()
	if err := c.listen(&o); err != nil {
		return err
	}
	w, err := newWorker(&o)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "listening", "http", o.HTTP.Addr().String(), "ops", o.Ops.Addr().String(),
		"http_tls", c.HTTPTLSCert != "", "ops_tls", c.OpsTLSCert != "")
	if err := w.Run(ctx); err != nil {
		return err
	}
	log.InfoContext(ctx, "stopped")
	return nil
}

// reportRabbitMQ logs that the former broker RabbitMQ is not used.
func reportRabbitMQ(p process, log *slog.Logger) {
	if value, _ := p.lookupEnv("RABBITMQ_URL"); value != "" {
		log.Warn("RABBITMQ_URL is set but no longer supported: NATS is the only broker; unset it. `arrakis drain rabbitmq` moves what is in its queues")
	}
}
