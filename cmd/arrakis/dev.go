package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/worker"
	"arrakis/tenant/store"
)

type devCmd struct {
	NATSPort  int  `name:"nats-port" default:"4222" min:"0" max:"65535" help:"Port of the embedded NATS on 127.0.0.1, or the next free one; 0 for any."`
	RedisPort int  `name:"redis-port" default:"6379" min:"0" max:"65535" help:"Port of the embedded Redis on 127.0.0.1, or the next free one; 0 for any."`
	Traffic   bool `help:"Make demo traffic: commands, checks, syncs and events, some over their limits, slow, failing or malformed, and bursts of one community. Its command fail always fails."`
	Discord   bool `help:"Play Discord in this process, with a chat on the console's page /discord. What the settings say of the real one is not used then."`
	Rate      *int `name:"traffic-rate" placeholder:"150" min:"1" max:"100000" help:"Messages a second of the demo traffic, without the bursts; needs --traffic."`
	httpSettings
	discordSettings
	workerSettings
	tenantSettings
	consumerSettings
	traceSettings
	logSettings
}

func (c *devCmd) validate(p process) error {
	var errs []error
	if c.Rate != nil && !c.Traffic {
		errs = append(errs, errors.New("--traffic-rate is the rate of the demo traffic: give --traffic with it"))
	}
	if c.Discord && c.HTTPTLSCert != "" {
		errs = append(errs, errors.New("--discord does not know the certificate of the ingress: leave out HTTP_TLS_CERT with it"))
	}
	return errors.Join(append(errs, c.httpSettings.validate(), c.discordSettings.validate(), c.traceSettings.validate(p))...)
}

// defaultRate is how many messages a second the demo traffic has, which --help says too.
const defaultRate = 150

// readyWithin is how long the parts may take to become ready. They usually take a second.
const readyWithin = 30 * time.Second

func (c *devCmd) Run(ctx context.Context, p process) error {
	start := time.Now()
	log := c.newLogger(p.stderr)
	reportRabbitMQ(p, log)
	tuneGC(p)
	e, err := startEmbedded(c.NATSPort, c.RedisPort)
	if err != nil {
		return err
	}
	defer e.close()

	nc, err := openNATS(&natsSettings{URL: e.nats.ClientURL()}, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	rdb := newRedis(redisTarget{single: &redis.Options{Addr: e.redis.Addr()}}, worker.RedisConnections(c.Shards))
	defer func() { _ = rdb.Close() }() // all users of rdb have ended
	tenants := store.New(rdb, store.Options{Source: "dev"})
	if err := storeDemo(ctx, tenants); ctx.Err() != nil {
		return nil // stopped before it was ready
	} else if err != nil {
		return fmt.Errorf("store the demo communities: %w", err)
	}
	d := &demo{started: start}
	o := workerOptions(&c.httpSettings, &c.workerSettings, &c.tenantSettings)
	handlers := d.handlers()
	if c.Traffic {
		handlers.Command("fail", d.counted(d.fail))
	}
	o.NATS, o.Redis, o.Logger, o.Fallbacks, o.Discord = nc, rdb, log, handlers, c.discordOptions()
	o.Streams.MaxAckPending = c.MaxAckPending
	played, err := c.playDiscord(ctx, nc, tenants)
	if err != nil {
		return err
	}
	defer played.close()
	stopTraces, err := c.exportTraces(ctx, p, &o)
	if err != nil {
		return err
	}
	defer stopTraces()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := c.listen(&o); err != nil {
		return err
	}
	ingress := urlOf(o.HTTP.Addr(), c.HTTPTLSCert != "")
	played.join(&o, ingress, ctx.Done())
	w, err := newWorker(&o)
	if err != nil {
		return err
	}
	d.worker = w
	if tcp, ok := o.HTTP.Addr().(*net.TCPAddr); c.IngressToken == "" && (!ok || !tcp.IP.IsLoopback()) {
		log.WarnContext(ctx, "the ingress accepts requests from other machines without a token: set INGRESS_TOKEN, or HTTP_ADDR to 127.0.0.1")
	}
	var g errgroup.Group
	g.Go(func() error { defer stop(); return w.Run(ctx) })
	g.Go(func() error { turnClock(ctx, e.redis); return nil })
	g.Go(func() error {
		ready, enough := context.WithTimeout(ctx, readyWithin)
		defer enough()
		err := w.AwaitReady(ready)
		if err == nil {
			err = played.introduce(ready, ingress)
		}
		if ctx.Err() != nil {
			return nil // stopped before it was ready, or Run returns the error
		}
		if err != nil {
			stop()
			return fmt.Errorf("not ready after %s: %w", readyWithin, err)
		}
		if c.Traffic {
			g.Go(func() error { return (&traffic{rate: *cmp.Or(c.Rate, new(defaultRate)), log: log}).run(ctx, nc) })
		}
		return banner{
			version: buildInfo().Version, took: time.Since(start), token: c.IngressToken != "",
			ingress: ingress, ops: urlOf(o.Ops.Addr(), c.OpsTLSCert != ""),
			natsURL: e.nats.ClientURL(), redisURL: "redis://" + e.redis.Addr(), discord: played,
		}.write(p.stdout)
	})
	return g.Wait()
}

// embedded holds the servers that `arrakis dev` runs in its own process.
type embedded struct {
	dir   string // JetStream's storage, removed at the end
	nats  *server.Server
	redis *miniredis.Miniredis
}

func startEmbedded(natsPort, redisPort int) (e *embedded, err error) {
	e = &embedded{}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.dir, err = os.MkdirTemp("", "arrakis-dev-"); err != nil {
		return e, err
	}
	if e.nats, err = startNATS(natsPort, e.dir); err != nil {
		return e, err
	}
	e.redis, err = startRedis(redisPort)
	return e, err
}

// close stops the servers that were started.
func (e *embedded) close() {
	if e.redis != nil {
		e.redis.Close()
	}
	if e.nats != nil {
		e.nats.Shutdown()
		e.nats.WaitForShutdown()
	}
	_ = os.RemoveAll(e.dir) // the system clears temporary files anyway
}

// startNATS starts a NATS server with JetStream on the port, or on the next free port.
func startNATS(port int, dir string) (*server.Server, error) {
	port, err := freePort(port)
	if err != nil {
		return nil, fmt.Errorf("find a port for the embedded NATS: %w; choose another with --nats-port", err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, ServerName: "arrakis-dev", NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 16 << 30,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(readyWithin) {
		s.Shutdown()
		return nil, fmt.Errorf("the embedded NATS is not ready on port %d; choose another with --nats-port", port)
	}
	return s, nil
}

// startRedis starts an in-memory Redis on the port, or on the next free port.
func startRedis(port int) (*miniredis.Miniredis, error) {
	port, err := freePort(port)
	if err != nil {
		return nil, fmt.Errorf("find a port for the embedded Redis: %w; choose another with --redis-port", err)
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
		return nil, fmt.Errorf("embedded Redis: %w; choose another port with --redis-port", err)
	}
	return m, nil
}

// freePort returns the first free port from the given one on. For 0 it returns any free port.
func freePort(port int) (int, error) {
	const tries = 20
	for i := 0; ; i++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
		if err == nil {
			free := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener's address
			return free, l.Close()
		}
		if port == 0 || i == tries {
			return 0, err
		}
	}
}

// turnClock makes keys expire, because the embedded Redis counts down times to live only on FastForward. A step also
// takes time from a key that was set just before it. Therefore a step is shorter than the extra time to live that the
// limiter gives its keys, and a missed step is not made up for.
func turnClock(ctx context.Context, m *miniredis.Miniredis) {
	const step = 50 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.FastForward(step)
		}
	}
}
