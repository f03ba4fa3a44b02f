package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"arrakis/tenant/store"
)

// The states of a database.
const (
	stateNew    = "new"    // nothing was kept here yet
	stateActive = "active" // documents are changed here
	stateMoved  = "moved"  // documents were moved to Redis
	// While a move is under way, or after its process has died.
	stateMovingIn  = "moving_in"  // from Redis
	stateMovingOut = "moving_out" // to Redis
)

// row is what is stored of a document, also of a deleted one.
type row struct {
	state  string
	now    time.Time
	text   string // "": there is no document, or it is deleted
	number int64  // the version; 0: there has never been such a document
}

const readRow = `SELECT r.state, clock_timestamp(), coalesce(d.doc::text, ''), coalesce(d.version, 0)
FROM arrakis.record r LEFT JOIN arrakis.documents d ON d.kind = $1 AND d.id = $2`

func (d *DB) row(ctx context.Context, n store.Name) (row, error) {
	var r row
	if err := d.misplaced(); err != nil {
		return row{}, err
	}
	if time.Now().UnixNano() < d.again.Load() {
		return row{}, fmt.Errorf("%w: %s", store.ErrAway, d.why.Load())
	}
	err := d.pool.QueryRow(ctx, readRow, string(n.Kind), n.ID).Scan(&r.state, &r.now, &r.text, &r.number)
	if err := d.readError(ctx, err); err != nil {
		return row{}, err
	}
	return r, inactive(r.state)
}

// inactive returns ErrElsewhere if documents are not changed in a database of this state.
func inactive(state string) error {
	switch state {
	case stateActive:
		return nil
	case stateMoved:
		return fmt.Errorf("%w: tenants were moved from PostgreSQL to Redis: unset POSTGRES_URL, or move them back with `arrakis tenant move --from redis --to postgres`", store.ErrElsewhere)
	case stateMovingIn:
		return fmt.Errorf("%w: tenants are being moved from Redis to PostgreSQL; if that was interrupted, repeat it: `arrakis tenant move --from redis --to postgres`", store.ErrElsewhere)
	case stateMovingOut:
		return fmt.Errorf("%w: tenants are being moved from PostgreSQL to Redis; if that was interrupted, repeat it: `arrakis tenant move --from postgres --to redis`", store.ErrElsewhere)
	default:
		return fmt.Errorf("%w: PostgreSQL has no tenants yet. If Redis has some, run `arrakis tenant move --from redis --to postgres`; if not, start a worker with POSTGRES_URL", store.ErrElsewhere)
	}
}

func (r *row) stored() store.Stored {
	if r.text == "" {
		return store.Stored{}
	}
	return store.Stored{Text: r.text, Version: store.NumberedVersion(r.number)}
}

// Read returns what is stored of a document. Errors: [store.ErrAway], [store.ErrElsewhere], and that of ctx.
func (d *DB) Read(ctx context.Context, n store.Name) (store.Stored, error) {
	ctx, cancel := timed(ctx)
	defer cancel()
	r, err := d.row(ctx, n)
	if err != nil {
		return store.Stored{}, err
	}
	return r.stored(), nil
}

// clockVersion is the version of a new document: unix ms, and so later than that of any document in another database, or
// in this one before it was restored from a backup.
const clockVersion = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// writeRow writes a document if it has the version $4, which is 0 for one that has never been there. All is one
// statement, so that no lock is held over the network; what follows the first INSERT runs under the lock of its row.
const writeRow = `WITH written AS (
	INSERT INTO arrakis.documents AS d (kind, id, doc, version, updated_at)
	SELECT $1, $2, $3::json, ` + clockVersion + `, $5 FROM arrakis.record WHERE state = 'active'
	ON CONFLICT (kind, id) DO UPDATE SET doc = EXCLUDED.doc, version = greatest(d.version + 1, EXCLUDED.version), updated_at = EXCLUDED.updated_at
		WHERE d.version = $4
	RETURNING version
), audited AS (
	INSERT INTO arrakis.audit (at, type, target, actor, from_where, request_id, source, before, after)
	SELECT $5, $6, $7, $8, $9, $10, $11, $12::json, $13::json FROM written
), queued AS (
	INSERT INTO arrakis.outbox (kind, id, source) SELECT $1, $2, $11 FROM written
)
SELECT version FROM written`

// Write makes a change, see [store.SystemOfRecord].
func (d *DB) Write(ctx context.Context, c store.Change) (store.Version, error) {
	number, err := d.write(ctx, c)
	if err != nil {
		return "", err
	}
	d.awaitRelay(ctx)
	return store.NumberedVersion(number), nil
}

// write makes a change, and returns the number of the new version.
func (d *DB) write(ctx context.Context, c store.Change) (number int64, err error) {
	ctx, cancel := timed(ctx)
	defer cancel()
	was, err := d.row(ctx, c.Name)
	if err != nil {
		return 0, err
	}
	now := was.now.UTC().Truncate(time.Millisecond)
	next, err := c.Decide(was.stored(), now)
	if err != nil {
		return 0, err
	}
	e := c.Entry(was.text, next)
	conn, err := d.pool.Acquire(ctx)
	if err != nil { // so nothing was sent
		return 0, d.readError(ctx, err)
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, writeRow, string(c.Name.Kind), c.Name.ID, null(next), was.number, now,
		string(e.Type), e.Target, e.Actor, e.From, e.RequestID, e.Source, null(e.Before.Text), null(e.After.Text)).Scan(&number)
	if errors.Is(err, pgx.ErrNoRows) || raced(err) { // another writer was faster, or the state has changed
		return 0, store.ErrRaced
	}
	return number, d.writeError(ctx, err)
}

// null is how an absent document is written.
func null(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
