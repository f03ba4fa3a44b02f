package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/streams"
)

// natsFlags are the flags of every command that works on NATS.
type natsFlags struct {
	outputFlags
	natsSettings
}

func (f *natsFlags) validate(process) error { return f.natsSettings.validate() }

// withJetStream connects and runs do. It adds advice to the error of do.
func (f *natsFlags) withJetStream(do func(*nats.Conn, jetstream.JetStream) error) error {
	nc, err := connectNATS(&f.natsSettings)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return streams.Explain(do(nc, js))
}

// withRecords is withJetStream for commands that also use what Redis knows of streams. Redis may be away.
func (f *natsFlags) withRecords(s *redisSettings, do func(jetstream.JetStream, *streams.Records) error) error {
	return f.withServers(s, func(js jetstream.JetStream, rdb redis.UniversalClient, health *redishealth.Health) error {
		return do(js, streams.NewRecords(rdb, health))
	})
}

// redisTimeout bounds one question to Redis of a command that can do without the answer. It leaves time for the others.
const redisTimeout = 1500 * time.Millisecond

// withServers is withJetStream for commands that also use Redis, which may be away.
func (f *natsFlags) withServers(s *redisSettings, do func(jetstream.JetStream, redis.UniversalClient, *redishealth.Health) error) error {
	target, err := parseRedisURL(s.URL)
	if err != nil {
		return err
	}
	rdb := newRedis(target, 0)
	defer rdb.Close() //nolint:errcheck // nothing is pending
	// Nobody probes here, so Redis never counts as away: it is asked each time.
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: redisTimeout, Failures: 1 << 30})
	if err != nil {
		return err
	}
	return f.withJetStream(func(_ *nats.Conn, js jetstream.JetStream) error { return do(js, rdb, health) })
}

func validateServers(p process, nats *natsFlags, redis *redisSettings) error {
	return errors.Join(nats.validate(p), redis.validate())
}
