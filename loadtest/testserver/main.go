package testserver

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
)

// M runs a package's tests, for goleak.VerifyTestMain(testserver.M{M: m}). go-redis logs nothing while they run,
// because tests cause outages on purpose. After the tests, and before goleak checks, M ends the shared cluster. A
// package that uses EveryRedis needs M.
type M struct{ *testing.M }

// Run runs the tests and returns the exit code.
func (m M) Run() int {
	redis.SetLogger(quiet{})
	defer shared.close()
	return m.M.Run()
}

// quiet is a logger for go-redis that drops every line.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
