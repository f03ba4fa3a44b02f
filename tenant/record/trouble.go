package record

import (
	"context"
	"errors"
	"sync"

	"arrakis/tenant/store"
)

// errOther means that Redis has the copies of another database.
var errOther = errors.New("Redis has the tenants of another database") //nolint:staticcheck // Redis is a name

// trouble is what keeps changes from coming into force, as the goroutines of Run have last found. It is safe for
// concurrent use.
type trouble struct {
	mu    sync.Mutex // protects the fields below
	relay error      // why changes are not carried to Redis; nil if they are
	keep  error      // why Redis cannot be looked after; nil if it can
}

// set sets one of the fields.
func (t *trouble) set(field *error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*field = err
}

// err returns one of the fields, nil if both are.
func (t *trouble) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keep != nil {
		return t.keep
	}
	return t.relay
}

// relayed records how a round of the relay has ended.
func (d *DB) relayed(ctx context.Context, err error) {
	if ctx.Err() != nil { // it ends, which says nothing
		return
	}
	d.trouble.set(&d.trouble.relay, err)
	if err == nil {
		d.metrics.waiting.Set(0)
		return
	}
	ctx, cancel := timed(ctx)
	defer cancel()
	var age float64
	err = d.pool.QueryRow(ctx, `SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - at)::float8 FROM arrakis.outbox ORDER BY seq LIMIT 1), 0)`).Scan(&age)
	if err == nil { // while PostgreSQL is away, nobody knows
		d.metrics.waiting.Set(age)
	}
}

// kept records how a look at Redis has ended.
func (d *DB) kept(err error) {
	d.trouble.set(&d.trouble.keep, err)
	elsewhere := 0.0
	if errors.Is(err, store.ErrElsewhere) {
		elsewhere = 1
	}
	d.metrics.elsewhere.Set(elsewhere)
}

// Check returns nil if PostgreSQL answers and, as far as Run has found in the last second, what is changed there comes
// into force. The error is, or wraps, [store.ErrAway] or [store.ErrElsewhere], or says why changes do not reach Redis.
func (d *DB) Check(ctx context.Context) error {
	if d.Ping(ctx) != nil {
		return store.ErrAway
	}
	return d.trouble.err()
}

// CheckMirror returns an error that wraps [store.ErrElsewhere] if Redis has the copies of another database, so that what
// is changed in this one would never come into force. It returns nil if that cannot be found out now.
func (d *DB) CheckMirror(ctx context.Context, m store.Mirror) error {
	self, err := d.self(ctx)
	if err != nil {
		return nil //nolint:nilerr // whoever needs PostgreSQL is told so by it
	}
	owner, err := m.Owner(ctx)
	if err != nil || owner == "" || owner == self.id || store.IsMoving(owner) {
		return nil //nolint:nilerr // the same
	}
	return foreign(owner, self.id)
}

// misplaced returns the error of CheckMirror, as Run has last found it.
func (d *DB) misplaced() error {
	if err := d.trouble.err(); errors.Is(err, errOther) {
		return err
	}
	return nil
}
