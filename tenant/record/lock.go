package record

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// rebuildLock is the ID of the advisory lock that a process holds while it fills Redis, compares, or moves documents to it.
	rebuildLock = 0x6172726b_00000003
	// lockEvery is the time between two signs of life of a process that holds the lock.
	lockEvery = 10 * time.Second
)

// alone runs f if no other process has the lock, and otherwise does nothing. The context of f ends when the lock is lost.
func (d *DB) alone(ctx context.Context, f func(context.Context) error) error {
	return d.locked(ctx, `SELECT pg_try_advisory_xact_lock($1)`, f)
}

// afterOthers runs f when no other process has the lock. The context of f ends when the lock is lost.
func (d *DB) afterOthers(ctx context.Context, f func(context.Context) error) error {
	return d.locked(ctx, `SELECT true FROM pg_advisory_xact_lock($1)`, f)
}

// locked runs f if lock, a query, says that this process has the lock. f uses other connections.
func (d *DB) locked(ctx context.Context, lock string, f func(context.Context) error) error {
	tx, err := d.beginLock(ctx)
	if err != nil {
		return err
	}
	defer d.endLock(ctx, tx)
	var got bool
	err = tx.QueryRow(ctx, lock, int64(rebuildLock)).Scan(&got) // it may wait for long, see keepAlive
	if err != nil || !got {
		return d.readError(ctx, err)
	}
	held, end := context.WithCancel(ctx)
	var lost error
	var wg sync.WaitGroup
	wg.Go(func() {
		lost = d.keepLock(held, tx)
		end()
	})
	err = f(held)
	end()
	wg.Wait()
	if err != nil && lost != nil {
		return fmt.Errorf("the lock of whoever fills Redis, compares or moves was lost: %w", lost)
	}
	return err
}

// beginLock begins the transaction that has the lock.
func (d *DB) beginLock(ctx context.Context) (pgx.Tx, error) {
	ctx, cancel := timed(ctx)
	defer cancel()
	tx, err := d.pool.Begin(ctx)
	if err != nil {
		return nil, d.readError(ctx, err)
	}
	// A process that is frozen does not keep the others from the lock for ever.
	if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '10min'`); err != nil {
		d.endLock(ctx, tx)
		return nil, d.readError(ctx, err)
	}
	return tx, nil
}

// keepLock gives signs of life until ctx ends. It returns why the lock is lost before, or else nil.
func (d *DB) keepLock(ctx context.Context, tx pgx.Tx) error {
	for d.pass(ctx, lockEvery); ctx.Err() == nil; d.pass(ctx, lockEvery) {
		if err := d.touch(ctx, tx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (d *DB) touch(ctx context.Context, tx pgx.Tx) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	_, err := tx.Exec(ctx, `SELECT`)
	return d.readError(ctx, err)
}

// endLock gives the lock back.
func (d *DB) endLock(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := timed(ctx)
	defer cancel()
	_ = tx.Rollback(ctx) // the lock ends with the connection, too, and nothing was changed
}
