package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver"
)

const (
	// startWithin is how long servers and the worker may take until they are ready.
	startWithin = 2 * time.Minute
	// ackWait is how soon another delivery of what a lost connection held comes.
	ackWait = 5 * time.Second
	stream  = "ELIGIBILITY"
	queue   = "checks"
)

// site is all that runs but the bridge.
type site struct {
	dir      string
	natsNode *program.NATS
	rabbit   *program.Process
	rabbitMQ string // URL
	natsURL  string
	redisURL string
	rdb      *redis.Client
	nc       *nats.Conn
	js       jetstream.JetStream
	runs     *ledger
	teardown []func()
}

// startSite starts all, with files in dir. close must be called, also after an error.
func startSite(ctx context.Context, o options, dir string) (*site, error) {
	s := &site{dir: dir, runs: newLedger()}
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not within %v; the logs are in %s", startWithin, dir))
	defer cancel()
	for _, step := range []func(context.Context, options) error{s.startRabbitMQ, s.startServers, s.storeTenants, s.startWorker} {
		if err := step(ctx, o); err != nil {
			return s, err
		}
	}
	return s, nil
}

// close ends all.
func (s *site) close() {
	for _, end := range slices.Backward(s.teardown) {
		end()
	}
}

func (s *site) start(p *program.Process) error {
	p.Log = filepath.Join(s.dir, p.Name+".log")
	if err := p.Start(); err != nil {
		return err
	}
	s.teardown = append(s.teardown, p.Kill)
	return nil
}

// startRabbitMQ starts RabbitMQ and declares the queue.
func (s *site) startRabbitMQ(ctx context.Context, o options) error {
	addrs, err := program.FreeAddrs(3)
	if err != nil {
		return err
	}
	_, distribution, _ := net.SplitHostPort(addrs[1])
	_, names, _ := net.SplitHostPort(addrs[2])
	env, err := testserver.RabbitMQEnv(s.dir, addrs[0], distribution, names)
	if err != nil {
		return err
	}
	epmd, err := exec.LookPath("epmd")
	script := filepath.Join(testserver.RabbitMQScripts, "rabbitmq-server")
	if _, missing := os.Stat(script); err != nil || missing != nil {
		return errors.New("rabbitmq-server is missing: install it with `apt-get install rabbitmq-server`")
	}
	s.rabbitMQ = "amqp://guest:guest@" + addrs[0] + "/"
	if err := s.start(&program.Process{Name: "epmd", Path: epmd, Args: []string{"-port", names, "-address", "127.0.0.1"}, Env: env}); err != nil {
		return err
	}
	var dialer net.Dialer
	if err := program.Poll(ctx, func() error { // RabbitMQ ends at once without it
		conn, err := dialer.DialContext(ctx, "tcp", addrs[2])
		if err == nil {
			err = conn.Close()
		}
		return err
	}); err != nil {
		return err
	}
	s.rabbit = &program.Process{Name: "rabbitmq", Path: script, Args: []string{"-noinput"}, Env: env}
	if err := s.start(s.rabbit); err != nil {
		return err
	}
	err = s.withChannel(ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": o.queue})
		return err
	})
	if err != nil {
		return err
	}
	// A kill soon after a queue was declared loses it: RabbitMQ 3.10 has not written its name by then.
	if err := s.rabbit.Drain(); err != nil {
		return err
	}
	return s.rabbit.Start()
}

// withChannel runs f on a channel of RabbitMQ, as soon as it answers.
func (s *site) withChannel(ctx context.Context, f func(*amqp.Channel) error) error {
	var conn *amqp.Connection
	err := program.Poll(ctx, func() (err error) {
		conn, err = amqp.Dial(s.rabbitMQ)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // f has said what was wrong
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return f(ch)
}

// startServers starts NATS and Redis, makes the streams, and starts the handler service.
func (s *site) startServers(ctx context.Context, o options) error {
	nodes, err := program.NewNATS(s.dir, 1)
	if err != nil {
		return err
	}
	s.natsNode, s.natsURL = nodes[0], "nats://"+nodes[0].Addr
	redisServer, addr, err := program.NewRedis(s.dir)
	if err != nil {
		return err
	}
	s.redisURL = "redis://" + addr
	if err := errors.Join(s.start(s.natsNode.Process), s.start(redisServer)); err != nil {
		return err
	}
	s.rdb = redis.NewClient(&redis.Options{Addr: addr})
	s.teardown = append(s.teardown, func() { _ = s.rdb.Close() }) // all has been answered
	err = program.Poll(ctx, func() error { return errors.Join(s.natsNode.Healthy(ctx), s.rdb.Ping(ctx).Err()) })
	if err != nil {
		return err
	}
	if s.nc, err = nats.Connect(s.natsURL, nats.Name("rabbitmq"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	s.teardown = append(s.teardown, s.nc.Close)
	if s.js, err = jetstream.New(s.nc); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, o.arrakis, "provision", "--apply") //nolint:gosec // just built
	cmd.Env = append(os.Environ(), "NATS_URL="+s.natsURL, "REDIS_URL="+s.redisURL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("arrakis provision: %w: %s", err, out)
	}
	if err := program.SetAckWaits(ctx, s.js, ackWait); err != nil {
		return err
	}
	_, err = s.nc.QueueSubscribe("handlers.eligibility.>", "rabbitmq", func(request *nats.Msg) {
		s.runs.ran(request.Header.Get("Arrakis-Event-Id"))
		_ = request.Respond([]byte(`true`)) // a lost answer is a fault like any other: it is tried again
	})
	return err
}

// perCommunity is how many messages one community has at most. It is below 10,000, so that its permits can be counted, and
// no message is over a limit.
const perCommunity = 2_500

// communities are the communities of the messages.
func communities(messages int) []string {
	ids := make([]string, (messages+perCommunity-1)/perCommunity)
	for i := range ids {
		ids[i] = fmt.Sprintf("comm_%03d", i)
	}
	return ids
}

func (s *site) storeTenants(ctx context.Context, o options) error {
	for _, id := range communities(o.messages) {
		config := fmt.Sprintf(`{"communityId":%q,"tier":"pro","rateLimits":{"eligibilityChecksPerHour":%d}}`, id, 2*perCommunity)
		if err := s.rdb.Set(ctx, "tenant:config:"+id, config, 0).Err(); err != nil {
			return fmt.Errorf("store tenants: %w", err)
		}
	}
	return nil
}

// startWorker starts a worker and waits until it is ready.
func (s *site) startWorker(ctx context.Context, o options) error {
	addrs, err := program.FreeAddrs(2)
	if err != nil {
		return err
	}
	worker := &program.Process{Name: "worker", Path: o.arrakis, Args: []string{"serve"}, Env: []string{
		"NATS_URL=" + s.natsURL, "REDIS_URL=" + s.redisURL, "HTTP_ADDR=" + addrs[0], "OPS_ADDR=" + addrs[1],
		"INGRESS_AUTH=none", "LOG_FORMAT=json", "SHUTDOWN_TIMEOUT=10s",
	}}
	if err := s.start(worker); err != nil {
		return err
	}
	return program.Poll(ctx, func() error { return program.Get(ctx, "http://"+addrs[1]+"/readyz", "") })
}
