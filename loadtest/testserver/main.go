package testserver

import (
	"context"
	"flag"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// M runs a package's tests, for goleak.VerifyTestMain(testserver.M{M: m}). go-redis logs nothing while they run,
// because tests cause outages on purpose. After the tests, and before goleak checks, M ends the servers that the tests
// have shared. A package that uses EveryRedis, PostgresDatabase or SharedRabbitMQ needs M.
type M struct{ *testing.M }

// Run runs the tests and returns the exit code.
func (m M) Run() int {
	redis.SetLogger(quiet{})
	defer shared.close()
	defer databases.close()
	defer sharedRabbit.close()
	return m.M.Run()
}

// NATSLeaks are options for goleak: what nats-server 2.15 leaves behind if it is stopped at the moment when it makes a
// stream. A server that was not stopped is still found, by its other goroutines.
func NATSLeaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	}
}

// WaitTogether lets six parallel tests run at once, unless -parallel says otherwise, however few processors there are. It
// is for packages most of whose tests wait for servers and for seconds to pass, and is called by their TestMain.
func WaitTogether() {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err) // the flag exists since testing.Init
	}
}

// quiet is a logger for go-redis that drops every line.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
