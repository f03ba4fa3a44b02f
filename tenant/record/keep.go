package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"arrakis/tenant/store"
)

const (
	// keepEvery is the time between two looks at whether Redis still has the copies.
	keepEvery = time.Second
	// compareEvery is the time between two comparisons of all documents, and between two looks for old audit entries.
	compareEvery = time.Hour
)

// Run carries changes to Redis, and keeps Redis as it must be, until ctx ends; then it returns nil. While PostgreSQL or
// Redis is away, it tries again. Call Run or Relay once.
func (d *DB) Run(ctx context.Context, m store.Mirror) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.Relay(ctx, m) })
	wg.Go(func() { d.keep(ctx, m) })
	wg.Wait()
	return nil
}

// Relay is Run for a process that ends soon: it only carries changes to Redis.
func (d *DB) Relay(ctx context.Context, m store.Mirror) {
	d.running.Store(true)
	defer d.running.Store(false)
	d.relay(ctx, m)
}

// keeper is what keep knows. Only the goroutine of keep uses it.
type keeper struct {
	db      *DB
	mirror  store.Mirror
	servers []string  // of Redis, when they were last looked at
	due     time.Time // by PostgreSQL's clock: when one of the servers was found to be another; zero if all was compared since
	seen    time.Time // by PostgreSQL's clock: the last comparison that the metrics go by
	told    string    // the last error, which is logged once
}

// keep looks after Redis until ctx ends.
func (d *DB) keep(ctx context.Context, m store.Mirror) {
	k := keeper{db: d, mirror: m}
	for ; ctx.Err() == nil; d.pass(ctx, keepEvery) {
		err := k.look(ctx)
		if ctx.Err() != nil { // it ends, which says nothing
			return
		}
		d.kept(err)
		switch {
		case err == nil:
			k.told = ""
		case err.Error() != k.told:
			k.told = err.Error()
			d.log.WarnContext(ctx, "the copies of Redis cannot be looked after", "err", err)
		}
	}
}

// look does what is due.
func (k *keeper) look(ctx context.Context) error {
	if err := k.db.ensureTables(ctx); err != nil {
		return err
	}
	owner, err := k.mirror.Owner(ctx)
	if err != nil {
		return err
	}
	self, err := k.db.self(ctx)
	switch {
	case err != nil:
		return err
	case self.state == stateNew && (owner == "" || owner == self.id):
		return k.db.adopt(ctx, k.mirror, owner, self.id)
	case self.state != stateActive:
		return inactive(self.state)
	case owner == "", isFilled(owner, self.id):
		return k.rebuild(ctx, self.id)
	case owner != self.id:
		return foreign(owner, self.id)
	}
	return k.compare(ctx, &self)
}

// errNotEmpty means that documents would be lost from sight if a new database became the system of record.
var errNotEmpty = fmt.Errorf("%w: Redis has documents that PostgreSQL does not have: run `arrakis tenant move --from redis --to postgres`", store.ErrElsewhere)

// adopt makes a database that has never been used the system of record, if Redis has no documents.
func (d *DB) adopt(ctx context.Context, m store.Mirror, owner, id string) error {
	if owner == "" { // else a process that did what follows has died, or is at it
		if err := empty(ctx, m); err != nil { // so that nobody is refused for nothing
			return err
		}
	}
	// From now on nobody changes documents in Redis.
	if set, err := m.SetOwner(ctx, owner, id, 0); err != nil || !set {
		return err
	}
	if err := empty(ctx, m); err != nil {
		if self, again := d.self(ctx); again != nil || self.state != stateNew {
			return again // another process has done it, and Redis has what was written since
		}
		_, undo := m.SetOwner(context.WithoutCancel(ctx), id, "", 0)
		return errors.Join(err, undo)
	}
	ctx, cancel := timed(ctx)
	defer cancel()
	tag, err := d.pool.Exec(ctx, `UPDATE arrakis.record SET state = 'active', since = clock_timestamp() WHERE state = 'new'`)
	if err == nil && tag.RowsAffected() > 0 {
		d.log.InfoContext(ctx, "PostgreSQL is the system of record from now on", "database", id)
	}
	return d.writeError(ctx, err)
}

// empty returns errNotEmpty if Redis has documents.
func empty(ctx context.Context, m store.Mirror) error {
	return m.Walk(ctx, func(names []store.Name) error {
		if len(names) > 0 {
			return errNotEmpty
		}
		return nil
	})
}

// rebuild fills a Redis that has lost its copies, if no other process does.
func (k *keeper) rebuild(ctx context.Context, id string) error {
	return k.db.alone(ctx, func(ctx context.Context) error {
		if owner, err := k.mirror.Owner(ctx); err != nil || owner == id {
			return err // another process has filled it meanwhile
		}
		k.db.log.WarnContext(ctx, "Redis has lost its documents: filling it from PostgreSQL")
		began, said := time.Now(), time.Now()
		n, err := k.db.fill(ctx, k.mirror, func(done, all int) {
			if time.Since(said) > 5*time.Second {
				said = time.Now()
				k.db.log.InfoContext(ctx, "filling Redis", "done", done, "all", all)
			}
		})
		if err != nil {
			return err
		}
		k.db.metrics.rebuilds.Inc()
		k.db.log.InfoContext(ctx, "Redis is filled", "documents", n, "seconds", time.Since(began).Seconds())
		return nil
	})
}

// compare compares everything when a server of Redis is not the one that it was, because it may have lost the last
// changes, and each hour. One process does it for all.
func (k *keeper) compare(ctx context.Context, self *self) error {
	servers, err := k.mirror.Servers(ctx)
	if err != nil {
		return err
	}
	if k.servers != nil && !slices.Equal(k.servers, servers) {
		k.due = self.now
	}
	k.servers = servers
	if self.compared.After(k.seen) { // another process knows better
		k.seen = self.compared
		k.db.metrics.forgetDrift()
	}
	if k.due.IsZero() && self.now.Sub(self.compared) < compareEvery {
		return nil
	}
	return k.db.alone(ctx, func(ctx context.Context) error {
		now, err := k.db.self(ctx)
		if err == nil {
			err = inactive(now.state) // it may have moved meanwhile
		}
		if err != nil {
			return err
		}
		if !now.compared.After(self.compared) || now.compared.Before(k.due) { // no other process was faster
			if err := k.compareNow(ctx, now.now); err != nil {
				return err
			}
		}
		k.due = time.Time{}
		return nil
	})
}

// compareNow compares everything, and tells the other processes since when that is done.
func (k *keeper) compareNow(ctx context.Context, began time.Time) error {
	k.seen = began
	if _, err := k.db.compareAll(ctx, k.mirror, CompareOptions{Repair: RepairBehind}); err != nil {
		return err
	}
	if err := k.db.setCompared(ctx, began); err != nil {
		return err
	}
	return k.db.prune(ctx)
}

// setCompared tells the other processes since when all was compared.
func (d *DB) setCompared(ctx context.Context, began time.Time) error {
	ctx, cancel := timed(ctx)
	defer cancel()
	_, err := d.pool.Exec(ctx, `UPDATE arrakis.record SET compared = $1`, began)
	return d.writeError(ctx, err)
}
