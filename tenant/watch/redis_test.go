package watch_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// newStore makes a store that logs to the returned buffer, for one goroutine.
func newStore(rdb redis.UniversalClient) (*store.Store, *bytes.Buffer) {
	var log bytes.Buffer
	return store.New(rdb, store.Options{
		Source: "test",
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}), &log
}
