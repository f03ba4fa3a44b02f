package store_test

import (
	"bytes"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// newStore makes a store on Redis alone that logs to the returned buffer, for one goroutine.
func newStore(rdb redis.UniversalClient) (*store.Store, *bytes.Buffer) { return home{rdb: rdb}.store() }

func set(t *testing.T, rdb redis.UniversalClient, key, text string) {
	t.Helper()
	if err := rdb.Set(t.Context(), key, text, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *store.Store, id string) *tenant.Tenant {
	t.Helper()
	tenants, err := s.Load(t.Context(), []string{id})
	if err != nil {
		t.Fatal(err)
	}
	return tenants[0]
}
