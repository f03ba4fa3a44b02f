package record_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// edited are the tenants that editors change: few, so that they are in each other's way.
var edited = []string{"arrakeen", "carthag", "tuek"}

// editors change the tenants at the same time until they are stopped, and remember the request ID of each change with
// what they were told about it.
type editors struct {
	wg    sync.WaitGroup
	stop  chan struct{}
	acked atomic.Int64 // changes that were acknowledged

	mu   sync.Mutex       // protects the field below
	told map[string]error // by request ID; nil: it was acknowledged
}

// startEditors starts n editors, each of which uses one of the stores.
func startEditors(t *testing.T, n int, stores ...*store.Store) *editors {
	t.Helper()
	e := &editors{stop: make(chan struct{}), told: make(map[string]error)}
	for i := range n {
		e.wg.Go(func() { e.edit(t, i, stores[i%len(stores)]) })
	}
	t.Cleanup(e.end)
	return e
}

// edit changes one tenant after the other. After a failure it waits a moment, as an editor does.
func (e *editors) edit(t *testing.T, editor int, s *store.Store) {
	t.Helper()
	for i := 0; ; i++ {
		select {
		case <-e.stop:
			return
		default:
		}
		request := fmt.Sprintf("editor-%d-%d", editor, i)
		ctx := store.WithOrigin(t.Context(), store.Origin{Actor: "test", RequestID: request})
		err := editOnce(ctx, s, edited[(editor+i)%len(edited)], i)
		e.mu.Lock()
		e.told[request] = err
		e.mu.Unlock()
		switch {
		case err == nil:
			e.acked.Add(1)
		case errors.Is(err, store.ErrUncertain), errors.Is(err, store.ErrAway), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
			select {
			case <-e.stop:
			case <-time.After(5 * time.Millisecond):
			}
		default:
			t.Errorf("%s: %v", request, err)
			return
		}
	}
}

// editOnce makes the limit of a tenant one more. Every seventh time it deletes the tenant.
func editOnce(ctx context.Context, s *store.Store, id string, i int) error {
	if i%7 == 6 {
		return s.Delete(ctx, id, "")
	}
	_, _, err := s.Update(ctx, id, func(c *tenant.Config) error {
		n := int64(1)
		if was := c.RateLimits.CommandsPerMinute; was != nil {
			n += *was
		}
		c.RateLimits.CommandsPerMinute = &n
		return nil
	})
	return err
}

// more waits until n more changes are acknowledged.
func (e *editors) more(t *testing.T, n int64) {
	t.Helper()
	want := e.acked.Load() + n
	testserver.Eventually(t, fmt.Sprintf("%d more changes are acknowledged", n), func() bool { return e.acked.Load() >= want || t.Failed() })
}

// end stops the editors and waits for them.
func (e *editors) end() {
	select {
	case <-e.stop:
	default:
		close(e.stop)
	}
	e.wg.Wait()
}

// change is an entry of the audit log.
type change struct{ request, before, after string }

// check checks that each change that was acknowledged is in the audit log once, that none is that was refused, and that
// the changes of a tenant follow each other up to the document that is stored.
func (e *editors) check(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	e.end()
	seen := make(map[string]int)
	for _, id := range edited {
		rows, _ := conn.Query(t.Context(), `SELECT request_id, coalesce(before::text, ''), coalesce(after::text, '')
			FROM arrakis.audit WHERE type = 'tenant' AND target = $1 ORDER BY seq`, id) // CollectRows returns the error
		changes, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (c change, err error) {
			err = r.Scan(&c.request, &c.before, &c.after)
			return c, err
		})
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for _, c := range changes {
			if c.before != last {
				t.Errorf("%s: %s has changed\n%s, but what was stored is\n%s", id, c.request, c.before, last)
			}
			last = c.after
			seen[c.request]++
		}
		var stored string
		err = conn.QueryRow(t.Context(), `SELECT coalesce(doc::text, '') FROM arrakis.documents WHERE kind = 'tenant' AND id = $1`, id).Scan(&stored)
		if diff := cmp.Diff(last, stored); err != nil || diff != "" {
			t.Errorf("%s after %d changes: %v (-audit log +stored)\n%s", id, len(changes), err, diff)
		}
	}
	e.checkTold(t, seen)
}

// checkTold compares what the editors were told with how often their changes are in the audit log.
func (e *editors) checkTold(t *testing.T, seen map[string]int) {
	t.Helper()
	uncertain, stored := 0, 0
	for request, err := range e.told {
		n := seen[request]
		delete(seen, request)
		switch {
		case err == nil && n != 1:
			t.Errorf("%s was acknowledged and is stored %d times", request, n)
		case errors.Is(err, store.ErrUncertain) && n <= 1:
			uncertain++
			stored += n
		case err != nil && n != 0:
			t.Errorf("%s is stored %d times, but its editor was told: %v", request, n, err)
		}
	}
	if len(seen) > 0 {
		t.Errorf("changes that nobody has made: %v", seen)
	}
	t.Logf("%d changes were acknowledged; of %d whose answer was lost %d are stored", e.acked.Load(), uncertain, stored)
}

// watcher sees the copies of the tenants in Redis as workers do. It fails the test if one becomes older.
type watcher struct {
	mirror store.Mirror
	names  []store.Name

	mu     sync.Mutex // protects the fields below; look holds it while it reads, so that a loss is before or after
	newest []int64    // the highest version that was there since Redis was lost, in the order of names
	heard  []int64    // the version that was there after the last event about it; -1: none
}

// watch starts a watcher that ends with the test.
func watch(t *testing.T, addr string) *watcher {
	t.Helper()
	rdb := testserver.ConnectRedis(t, addr)
	w := &watcher{mirror: store.New(rdb, store.Options{}).Mirror(), newest: make([]int64, len(edited)), heard: make([]int64, len(edited))}
	for _, id := range edited {
		w.names = append(w.names, store.Name{Kind: store.KindTenant, ID: id})
	}
	events := rdb.Subscribe(t.Context(), store.ReloadChannel)
	if _, err := events.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { w.look(t) })
	wg.Go(func() { w.listen(t, events.Channel(redis.WithChannelSize(10_000))) })
	t.Cleanup(func() {
		_ = events.Close() // it is of the test alone
		wg.Wait()
	})
	return w
}

// look reads the copies again and again.
func (w *watcher) look(t *testing.T) {
	t.Helper()
	for tick := time.NewTicker(time.Millisecond); t.Context().Err() == nil; {
		w.see(t)
		select {
		case <-t.Context().Done():
			tick.Stop()
		case <-tick.C:
		}
	}
}

func (w *watcher) see(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, v := range w.versions(t.Context()) {
		if v != 0 && v < w.newest[i] {
			t.Errorf("the copy of %s had version %d and now has %d", w.names[i].ID, w.newest[i], v)
		}
		w.newest[i] = max(w.newest[i], v)
	}
}

// loses lets Redis lose everything. What it is filled with may be older for a moment.
func (w *watcher) loses(everything func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	everything()
	clear(w.newest)
}

// listen reads the copies that events are about.
func (w *watcher) listen(t *testing.T, events <-chan *redis.Message) {
	t.Helper()
	for message := range events {
		e, err := tenant.ParseEvent([]byte(message.Payload))
		if err != nil {
			t.Errorf("event %s: %v", message.Payload, err)
		}
		versions := w.versions(t.Context())
		if versions == nil {
			continue
		}
		w.mu.Lock()
		for i, n := range w.names {
			if e.Type == tenant.GlobalChanged || e.TargetID == n.ID {
				w.heard[i] = versions[i]
			}
		}
		w.mu.Unlock()
	}
}

// versions are the versions of the copies, in the order of names, 0 for none. It is nil if Redis does not answer.
func (w *watcher) versions(ctx context.Context) []int64 {
	stored, err := w.mirror.Stored(ctx, w.names)
	if err != nil {
		return nil
	}
	versions := make([]int64, len(stored))
	for i, s := range stored {
		versions[i], _ = strconv.ParseInt(string(s.Version), 10, 64) // 0 if there is none
	}
	return versions
}

// checkHeard checks that workers that read a copy only when they hear of it have the newest ones.
func (w *watcher) checkHeard(t *testing.T) {
	t.Helper()
	testserver.Eventually(t, "workers have heard of the last versions", func() bool {
		versions := w.versions(t.Context())
		w.mu.Lock()
		defer w.mu.Unlock()
		return cmp.Equal(versions, w.heard)
	})
}
