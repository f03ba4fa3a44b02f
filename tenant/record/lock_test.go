package record_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// stuck is a hook of a client of Redis that gives no answer to who stores documents, until that one gives up.
type stuck chan struct{} // receives one item for each

func (stuck) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (stuck) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (s stuck) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "evalsha" {
			return next(ctx, cmds)
		}
		s <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
}

// TestLock: whoever has the lock gives signs of life, and ends what it does under it when the lock is lost.
func TestLock(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	st := s.relayAt(t, s.url, beforeDelete, func() error { return nil })
	if _, _, err := st.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	conn := s.settled(t)
	rdb, storing := s.redis.Client(t), make(stuck, 1)
	rdb.AddHook(storing)
	d, done := open(t, s.url), make(chan error, 1)
	go func() {
		_, err := d.Rebuild(t.Context(), store.New(rdb, store.Options{}).Mirror(), nil)
		done <- err
	}()
	<-storing
	since := lockHeld(t, conn)
	testserver.Eventually(t, "it gives a sign of life", func() bool { return lockHeld(t, conn).After(since) })
	_, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the lock of whoever fills Redis, compares or moves was lost") {
		t.Errorf("rebuild: %v", err)
	}
}

// lockHeld is when PostgreSQL has last heard of whoever has the lock.
func lockHeld(t *testing.T, conn *pgx.Conn) (at time.Time) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT state_change FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 | objid::bigint = $1 AND datname = current_database()`, record.RebuildLock).Scan(&at)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
