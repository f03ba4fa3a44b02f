package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver"
)

// startWithin is how long servers and workers may take until they are ready.
const startWithin = time.Minute

// site is all that runs: servers, workers and handlers.
type site struct {
	postgres *testserver.PostgresServer
	redisURL string
	rdb      *redis.Client
	workers  []*worker
	arrakis  string // the binary
	teardown []func()
}

// worker is one `arrakis serve` with a nats-server of its own.
type worker struct {
	*program.Process
	natsURL   string
	http, ops string // addresses
}

// startSite starts all, with files in dir. close must be called, also after an error.
func startSite(ctx context.Context, o options, dir string) (*site, error) {
	s := &site{arrakis: o.arrakis}
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not within %v; the logs are in %s", startWithin, dir))
	defer cancel()
	if err := s.startStores(ctx, dir); err != nil {
		return s, err
	}
	for i := range o.workers {
		if err := s.startWorker(ctx, filepath.Join(dir, "worker-"+strconv.Itoa(i+1))); err != nil {
			return s, err
		}
	}
	return s, program.Poll(ctx, func() error {
		var errs []error
		for _, w := range s.workers {
			errs = append(errs, program.Get(ctx, "http://"+w.ops+"/readyz", ""))
		}
		return errors.Join(append(errs, s.filled(ctx))...)
	})
}

// startStores starts PostgreSQL and Redis.
func (s *site) startStores(ctx context.Context, dir string) error {
	postgres, err := program.FreeAddr()
	if err != nil {
		return err
	}
	if s.postgres, err = testserver.StartPostgres(postgres, "shared_buffers=256MB", "max_wal_size=4GB"); err != nil {
		return err
	}
	s.teardown = append(s.teardown, s.postgres.Close)
	server, addr, err := program.NewRedis(dir)
	if err != nil {
		return err
	}
	s.redisURL = "redis://" + addr
	if err := server.Start(); err != nil {
		return err
	}
	s.rdb = redis.NewClient(&redis.Options{Addr: addr})
	s.teardown = append(s.teardown, server.Kill, func() { _ = s.rdb.Close() }) // all has been answered
	return program.Poll(ctx, func() error { return s.rdb.Ping(ctx).Err() })
}

// startWorker starts a nats-server with a handler, and a worker, with files in dir.
func (s *site) startWorker(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	nodes, err := program.NewNATS(dir, 1)
	if err != nil {
		return err
	}
	addrs, err := program.FreeAddrs(2)
	if err != nil {
		return err
	}
	if err := nodes[0].Start(); err != nil {
		return err
	}
	s.teardown = append(s.teardown, nodes[0].Kill)
	w := &worker{natsURL: "nats://" + nodes[0].Addr, http: addrs[0], ops: addrs[1]}
	var nc *nats.Conn
	err = program.Poll(ctx, func() (err error) {
		nc, err = nats.Connect(w.natsURL, nats.Name("record"))
		return err
	})
	if err != nil {
		return err
	}
	s.teardown = append(s.teardown, nc.Close)
	// A lost answer is a probe that is made again.
	_, err = nc.QueueSubscribe("handlers.command.>", "record", func(m *nats.Msg) { _ = m.Respond([]byte(`"ok"`)) })
	if err != nil {
		return err
	}
	w.Process = &program.Process{
		Name: filepath.Base(dir), Path: s.arrakis, Args: []string{"serve"}, Log: filepath.Join(dir, "worker.log"),
		Env: append(s.env(), "NATS_URL="+w.natsURL, "HTTP_ADDR="+w.http, "OPS_ADDR="+w.ops, "INGRESS_AUTH=none", "LOG_FORMAT=json"),
	}
	s.workers = append(s.workers, w)
	if err := w.Start(); err != nil {
		return err
	}
	s.teardown = append(s.teardown, func() { _ = w.Drain() }) // what it says is of no interest any more
	return nil
}

// env is where tenants are kept.
func (s *site) env() []string {
	return []string{"REDIS_URL=" + s.redisURL, "POSTGRES_URL=" + s.postgres.URL()}
}

// crashes are the workers that ended by themselves.
func (s *site) crashes() (all []string) {
	for _, w := range s.workers {
		all = append(all, w.Unasked()...)
	}
	return all
}

// close ends all.
func (s *site) close() error {
	for _, end := range slices.Backward(s.teardown) {
		end()
	}
	return nil
}
