// Package contender is the programs that are compared. Each runs in a process of its own, so that what it uses is its
// own, and is led by its parent over its standard input and output: see [Run].
package contender

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/contract"
)

// Name names a contender.
type Name string

// The contenders of the pipeline, of handlers over NATS, of decisions alone, and of requests.
const (
	Bare      Name = "bare"      // consume and acknowledge, nothing else: the limit
	Arrakis   Name = "arrakis"   // the pipeline as `arrakis serve` wires it, with a Go handler
	Watermill Name = "watermill" // Watermill's router, redis_rate in its handler
	Textbook  Name = "textbook"  // 50 goroutines, encoding/json, four round trips to Redis

	Plain           Name = "plain"            // consume, ask a handler service, acknowledge
	PlainHeaders    Name = "plain-headers"    // the same with headers as arrakis's requests have them
	ArrakisServices Name = "arrakis-services" // the pipeline without a Go handler
	HandlerService  Name = "handler service"  // what these three ask

	Limiter       Name = "limiter"        // arrakis's, as its shards use it
	LimiterSingle Name = "limiter-single" // arrakis's, one message at a time
	RedisRate     Name = "redis_rate"
	Gubernator    Name = "gubernator" // in memory: the processes are peers
	GoLimiter     Name = "go-limiter" // in memory: each process for itself

	Ingress Name = "ingress" // arrakis with its ingress
	Minimal Name = "minimal" // an HTTP server that publishes and waits for the reply
)

// Spec is what a contender is told.
type Spec struct {
	Contender   Name
	NATS        string // URL; "" where it is not needed
	Redis       string // host:port
	Mix         workload.Mix
	Communities int
	Shards      int    // of arrakis; 0 is its default
	Handlers    int    // that the textbook worker and Watermill run at once; 0 is 50
	Decisions   int    // how many to make, for contenders that only decide
	Ops         bool   // arrakis serves its console and the admin API
	Seed        uint32 // of their messages; processes side by side have different ones
	Profile     string // file for a CPU profile from Start to Stop; "" for none
}

// pullBatch is PullMaxMessages of all contenders; it is that of arrakis.
const pullBatch = 1_000

// manyHandlers is how many handlers the textbook worker and Watermill run at once unless the spec says otherwise.
const manyHandlers = 50

// env is what all contenders start from.
type env struct {
	spec     Spec
	nc       *nats.Conn
	consumer jetstream.Consumer
	rdb      *redis.Client
	log      *slog.Logger

	redisCommands atomic.Int64   // sent
	admitted      []atomic.Int64 // by community
	busy          []atomic.Int64 // ns of handlers that take their time, by community

	mu    sync.Mutex // protects calls
	calls []Call     // of quiet messages
}

// running is a contender that has started.
type running struct {
	addr   string                          // where it serves HTTP, or its console; "" if it does not
	decide func(ctx context.Context) error // makes spec.Decisions; nil if it consumes
	stop   func() error                    // ends it and waits for its goroutines
}

// starters start the contenders. They return when the contender is ready.
var starters = map[Name]func(context.Context, *env) (*running, error){
	Bare:            startBare,
	Arrakis:         startArrakis,
	Watermill:       startWatermill,
	Textbook:        startTextbook,
	Plain:           startPlain,
	PlainHeaders:    startPlainHeaders,
	ArrakisServices: startArrakisServices,
	HandlerService:  startService,

	Limiter:       startLimiter,
	LimiterSingle: startLimiterSingle,
	RedisRate:     startRedisRate,
	Gubernator:    startGubernator,
	GoLimiter:     startGoLimiter,
	Ingress:       startIngress,
	Minimal:       startMinimal,
}

// newEnv connects to the servers of spec.
func newEnv(ctx context.Context, spec Spec) (*env, error) {
	e := &env{
		spec: spec, admitted: make([]atomic.Int64, spec.Communities), busy: make([]atomic.Int64, spec.Communities),
		log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	e.rdb = redis.NewClient(&redis.Options{
		Addr: spec.Redis, ContextTimeoutEnabled: true,
		// As arrakis and most others have it: the client's default asks the server about failovers.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	e.rdb.AddHook(counter{e})
	if spec.NATS == "" {
		return e, nil
	}
	var err error
	if e.nc, err = nats.Connect(spec.NATS, nats.Name("bench "+string(spec.Contender))); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", spec.NATS, err)
	}
	js, err := jetstream.New(e.nc)
	if err != nil {
		return nil, err
	}
	if e.consumer, err = js.Consumer(ctx, contract.StreamCommands, contract.ConsumerCommand); err != nil {
		return nil, fmt.Errorf("look up the consumer: %w", err)
	}
	return e, nil
}

func (e *env) close() {
	if e.nc != nil {
		e.nc.Close()
	}
	_ = e.rdb.Close() // all that used it has ended
}

// handle is the handler of all contenders: it counts.
func (e *env) handle(community string) error {
	i, err := workload.Index(community)
	if err != nil {
		return err
	}
	if i >= len(e.admitted) {
		return fmt.Errorf("community %q is not one of %d", community, len(e.admitted))
	}
	e.admitted[i].Add(1)
	return nil
}
