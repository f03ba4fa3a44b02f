package testserver

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
)

// M is a package's tests, for goleak.VerifyTestMain(testserver.M{M: m}).
// go-redis logs nothing while they run: outages are what tests are about. When
// all have run, and before goleak looks, what they have shared is ended: a
// package that uses EveryRedis needs that.
type M struct{ *testing.M }

// Run runs the tests and returns the exit code.
func (m M) Run() int {
	redis.SetLogger(quiet{})
	defer shared.close()
	return m.M.Run()
}

// quiet is a logger of go-redis that drops what it gets.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
