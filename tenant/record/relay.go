package record

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"arrakis/tenant/store"
)

const (
	// relayBatch is how many rows of the outbox a relay carries over at a time.
	relayBatch = 1000
	// relayPoll is after how long a relay looks for what others have left behind.
	relayPoll = 500 * time.Millisecond
	// relayPause is how long a relay waits after it has failed.
	relayPause = time.Second
	// relayTimeout bounds one transaction of a relay.
	relayTimeout = 10 * time.Second
	// relayLock is the ID of the advisory lock that a relay holds while it carries rows over.
	relayLock = 0x6172726b_00000002
)

// awaitRelay waits until the relay of this process has carried over what is in the outbox now, if it runs, for
// relayWait at most. The document is kept in any case.
func (d *DB) awaitRelay(ctx context.Context) {
	if !d.running.Load() {
		return
	}
	d.mu.Lock()
	c := d.waiting
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // it is woken already
	}
	timer := time.NewTimer(d.relayWait)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// relay carries rows over until ctx ends.
func (d *DB) relay(ctx context.Context, m store.Mirror) {
	var failing bool
	for ctx.Err() == nil {
		d.mu.Lock()
		c := d.waiting
		d.waiting = newCarried() // who comes from now on waits for the next round
		d.mu.Unlock()
		err := d.drain(ctx, m)
		close(c.done)
		d.relayed(ctx, err)
		if failing != (err != nil) && ctx.Err() == nil {
			failing = err != nil
			if failing {
				d.log.WarnContext(ctx, "changes do not reach Redis; they are kept, and the relay tries again", "err", err)
			} else {
				d.log.InfoContext(ctx, "changes reach Redis again")
			}
		}
		if failing {
			d.pass(ctx, relayPause)
			continue
		}
		select {
		case <-ctx.Done():
		case <-d.wake:
		case <-time.After(relayPoll):
		}
	}
}

// pass lets time pass.
func (d *DB) pass(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// drain carries over all rows that are in the outbox now, and what waits in Redis for the audit log.
func (d *DB) drain(ctx context.Context, m store.Mirror) error {
	if err := d.ensureTables(ctx); err != nil {
		return err
	}
	self, err := d.self(ctx)
	if err != nil || self.state != stateActive && self.state != stateMovingOut { // otherwise Redis has its own log
		return err
	}
	if err := d.owns(ctx, m, self.id); err != nil {
		return err
	}
	for more := self.queued; more; {
		rows, err := d.carry(ctx, m)
		if err != nil {
			return err
		}
		more = rows == relayBatch
	}
	return d.takeAudit(ctx, m)
}

// readOutbox reads rows of the outbox with the documents as they are now. Rows of kinds that only a later release knows are
// left to its workers.
const readOutbox = `SELECT o.seq, o.kind, o.id, o.source, coalesce(d.doc::text, ''), coalesce(d.version, 0), extract(epoch FROM clock_timestamp() - o.at)::float8
FROM arrakis.outbox o LEFT JOIN arrakis.documents d USING (kind, id) WHERE kind = ANY($2) ORDER BY o.seq LIMIT $1`

// carry carries up to relayBatch rows over, and returns how many.
func (d *DB) carry(ctx context.Context, m store.Mirror) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	var away error // an error of Redis: not PostgreSQL's
	// Whatever the default of the database: each statement sees what was committed before it, and so what is in the outbox.
	err = pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := lockRelay(ctx, tx); err != nil {
			return err
		}
		seqs, copies, oldest, err := outbox(ctx, tx)
		if n = len(seqs); err != nil || n == 0 {
			return err
		}
		d.metrics.lag.Observe(oldest.Seconds())
		if away = give(ctx, m, copies); away != nil {
			return away
		}
		_, err = tx.Exec(ctx, `DELETE FROM arrakis.outbox WHERE seq = ANY($1)`, seqs)
		return err
	})
	if away != nil {
		return 0, away
	}
	if err := d.readError(ctx, err); err != nil { // all of it can be done again
		return 0, fmt.Errorf("carry changes to Redis: %w", err)
	}
	d.metrics.carried.Add(float64(n))
	return n, nil
}

// lockRelay waits until no other relay is in its transaction. A relay that is frozen there loses it, and what it does
// to Redis when it goes on is older than what Redis has by then.
func lockRelay(ctx context.Context, tx pgx.Tx) error {
	batch := &pgx.Batch{}
	batch.Queue(`SET LOCAL idle_in_transaction_session_timeout = '10s'`)
	batch.Queue(`SET LOCAL synchronous_commit = off`) // rows that come back are carried over again
	batch.Queue(`SELECT pg_advisory_xact_lock($1)`, int64(relayLock))
	return tx.SendBatch(ctx, batch).Close()
}

// outbox reads rows. Of the rows of one document, which is the same for all of them, one copy is made.
func outbox(ctx context.Context, tx pgx.Tx) (seqs []int64, copies []store.Copy, oldest time.Duration, err error) {
	rows, err := tx.Query(ctx, readOutbox, relayBatch, store.Kinds())
	if err != nil {
		return nil, nil, 0, err
	}
	defer rows.Close()
	place := make(map[store.Name]int)
	for rows.Next() {
		var seq int64
		var c store.Copy
		var age float64
		if err := rows.Scan(&seq, &c.Name.Kind, &c.Name.ID, &c.Source, &c.Text, &c.Number, &age); err != nil {
			return nil, nil, 0, err
		}
		seqs, oldest = append(seqs, seq), max(oldest, time.Duration(age*float64(time.Second)))
		i, there := place[c.Name]
		if !there {
			i, copies = len(copies), append(copies, c)
			place[c.Name] = i
		}
		copies[i].Source = c.Source // the last one
	}
	return seqs, copies, oldest, rows.Err()
}

// give gives Redis the documents, and announces all of them: a relay that died may have stored some and told nobody.
func give(ctx context.Context, m store.Mirror, copies []store.Copy) error {
	if _, err := m.Apply(ctx, copies); err != nil {
		return err
	}
	return m.Announce(ctx, copies)
}

// foreign is the error for a Redis that has the copies of another system of record.
func foreign(owner, id string) error {
	switch {
	case store.IsMoving(owner):
		return fmt.Errorf("%w: tenants are being moved; a move that was interrupted ends by itself after %s", store.ErrElsewhere, movingLast)
	case isFilled(owner, id):
		return fmt.Errorf("%w: Redis is being filled from PostgreSQL; try again when that has ended", store.ErrElsewhere)
	}
	return fmt.Errorf("%w: %w: %s is %.64q, and this database is %q; use another Redis, or the POSTGRES_URL of that database",
		store.ErrElsewhere, errOther, store.RecordKey, owner, id)
}

// owns returns nil if Redis may have the documents of the database id. Whether it must be filled is for keep to find out.
func (d *DB) owns(ctx context.Context, m store.Mirror, id string) error {
	owner, err := m.Owner(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read %s in Redis: %w", store.RecordKey, err)
	case owner != "" && owner != id && !isFilled(owner, id):
		return foreign(owner, id)
	}
	return nil
}

// self is what a database says of itself.
type self struct {
	id       string
	state    string
	now      time.Time
	compared time.Time // when all documents were last compared
	queued   bool      // there are rows in the outbox
}

func (d *DB) self(ctx context.Context) (s self, err error) {
	ctx, cancel := timed(ctx)
	defer cancel()
	err = d.pool.QueryRow(ctx, `SELECT id::text, state, clock_timestamp(), compared, EXISTS (SELECT FROM arrakis.outbox)
		FROM arrakis.record`).Scan(&s.id, &s.state, &s.now, &s.compared, &s.queued)
	return s, d.readError(ctx, err)
}
