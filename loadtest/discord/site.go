package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver/fakediscord"
)

// startWithin is how long servers and workers may take until they are ready.
const startWithin = time.Minute

// site is all that runs: servers, workers, handlers and a Discord, with a ledger of its interactions.
type site struct {
	natsURL  string
	redisURL string
	workers  []*worker
	balancer *balancer
	discord  *fakediscord.Server
	api      string // URL
	ledger   *ledger
	nc       *nats.Conn
	js       jetstream.JetStream

	stopWorkers context.CancelFunc
	supervisors errgroup.Group
	teardown    []func()
}

// worker is one `arrakis serve`.
type worker struct {
	*program.Process
	http, ops string // addresses
}

// ready returns nil if the worker says that it is ready.
func (w *worker) ready(ctx context.Context) error {
	if err := program.Get(ctx, "http://"+w.ops+"/readyz", ""); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	return nil
}

// startSite starts all, with files in dir. close must be called, also after an error.
func startSite(ctx context.Context, o options, dir string) (*site, error) {
	s := &site{ledger: newLedger(!o.repeat), stopWorkers: func() {}}
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not within %v; the logs are in %s", startWithin, dir))
	defer cancel()
	for _, step := range []func(context.Context, options, string) error{
		s.startServers, s.provision, s.startHandlers, s.startDiscord, s.startWorkers,
	} {
		if err := step(ctx, o, dir); err != nil {
			return s, err
		}
	}
	return s, nil
}

// close ends all.
func (s *site) close() error {
	s.stopWorkers()
	err := s.supervisors.Wait()
	for _, end := range slices.Backward(s.teardown) {
		end()
	}
	return err
}

// startServers starts NATS and Redis, and connects to NATS.
func (s *site) startServers(ctx context.Context, o options, dir string) error {
	nodes, err := program.NewNATS(dir, 1)
	if err != nil {
		return err
	}
	s.natsURL = "nats://" + nodes[0].Addr
	redisServer, addr, err := program.NewRedis(dir)
	if err != nil {
		return err
	}
	s.redisURL = "redis://" + addr
	for _, p := range []*program.Process{nodes[0].Process, redisServer} {
		if err := p.Start(); err != nil {
			return err
		}
		s.teardown = append(s.teardown, p.Kill)
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close() //nolint:errcheck // all has been answered
	err = program.Poll(ctx, func() error { return errors.Join(nodes[0].Healthy(ctx), client.Ping(ctx).Err()) })
	if err != nil {
		return err
	}
	for key, document := range tenants(o.rate) {
		if err := client.Set(ctx, key, document, 0).Err(); err != nil {
			return fmt.Errorf("store tenants: %w", err)
		}
	}
	if s.nc, err = nats.Connect(s.natsURL, nats.Name("discord")); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	s.teardown = append(s.teardown, s.nc.Close)
	s.js, err = jetstream.New(s.nc)
	return err
}

// provision makes the streams.
func (s *site) provision(ctx context.Context, o options, _ string) error {
	cmd := exec.CommandContext(ctx, o.arrakis, "provision", "--apply") //nolint:gosec // just built
	cmd.Env = append(os.Environ(), "NATS_URL="+s.natsURL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("arrakis provision: %w: %s", err, out)
	}
	if o.ackWait == 0 {
		return nil
	}
	return program.SetAckWaits(ctx, s.js, o.ackWait)
}

// startHandlers starts the handler service, and what looks at COMMANDS where connections may break for good. It costs as
// much as some hundred interactions a second.
func (s *site) startHandlers(_ context.Context, o options, _ string) error {
	if o.repeat {
		return serve(s.nc, s.ledger.ran)
	}
	// Each has a connection of its own, so that neither waits for the other.
	tapping, err := nats.Connect(s.natsURL, nats.Name("tap"))
	if err != nil {
		return err
	}
	s.teardown = append(s.teardown, tapping.Close)
	return errors.Join(serve(s.nc, s.ledger.ran), tap(tapping, s.ledger.stored))
}

// startDiscord starts the Discord, and the load balancer in front of the workers, which have no addresses before.
func (s *site) startDiscord(_ context.Context, o options, _ string) (err error) {
	addrs, err := program.FreeAddrs(2 * o.workers)
	if err != nil {
		return err
	}
	var ingresses []string
	for i := range o.workers {
		s.workers = append(s.workers, &worker{http: addrs[2*i], ops: addrs[2*i+1]})
		ingresses = append(ingresses, addrs[2*i])
	}
	s.balancer = newBalancer(ingresses, o.repeat)
	s.discord = fakediscord.New(fakediscord.Options{
		Histories: -1, Limits: true, Ended: s.ledger.ended,
		Client: &http.Client{Transport: s.balancer, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	if s.api, err = s.discord.Start("127.0.0.1:0"); err != nil {
		return err
	}
	s.teardown = append(s.teardown, func() { _ = s.discord.Close() }) // its error is that of a listener that is closed
	return nil
}

// startWorkers starts the workers, which start again whenever they are killed, and waits until all are ready.
func (s *site) startWorkers(ctx context.Context, o options, dir string) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopWorkers = stop
	for i, w := range s.workers {
		name := fmt.Sprintf("worker-%d", i+1)
		w.Process = &program.Process{
			Name: name, Path: o.arrakis, Args: []string{"serve"}, Log: filepath.Join(dir, name+".log"),
			Env: []string{
				"NATS_URL=" + s.natsURL, "REDIS_URL=" + s.redisURL, "HTTP_ADDR=" + w.http, "OPS_ADDR=" + w.ops, "INGRESS_AUTH=none",
				"DISCORD_PUBLIC_KEY=" + s.discord.PublicKey(), "DISCORD_APPLICATION_ID=" + s.discord.ApplicationID(),
				"DISCORD_API_URL=" + s.api, "LOG_FORMAT=json", "SHUTDOWN_TIMEOUT=10s",
			},
		}
		s.supervisors.Go(func() error { return w.Supervise(working) })
	}
	s.supervisors.Go(func() error {
		s.balancer.check(working, func(ctx context.Context, addr string) error { return program.Get(ctx, "http://"+addr+"/readyz", "") })
		return nil
	})
	return program.Poll(ctx, func() error { return s.ready(ctx, nil) })
}

// ready returns nil if all workers but one are ready.
func (s *site) ready(ctx context.Context, but *worker) error {
	var errs []error
	for _, w := range s.workers {
		if w != but {
			errs = append(errs, w.ready(ctx))
		}
	}
	return errors.Join(errs...)
}

// endpoint is the URL that interactions are sent to. The balancer replaces the host.
const endpoint = "http://arrakis/discord/interactions"

// probe asks the endpoint what Discord asks before it takes it.
func (s *site) probe(ctx context.Context) error { return s.discord.Probe(ctx, endpoint) }
