package record

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// readError is the error of a call that changes nothing.
func (d *DB) readError(ctx context.Context, err error) error {
	return d.callError(ctx, err, store.ErrAway)
}

// writeError is the error of a statement that changes something. If it was sent, and the connection was lost before
// PostgreSQL answered, nobody knows whether it was carried out.
func (d *DB) writeError(ctx context.Context, err error) error {
	if _, refused := errors.AsType[*pgconn.ConnectError](err); refused || pgconn.SafeToRetry(err) {
		return d.callError(ctx, err, store.ErrAway)
	}
	return d.callError(ctx, err, store.ErrUncertain)
}

// callError makes the error of a call of PostgreSQL. lost is the error if the connection was lost.
func (d *DB) callError(ctx context.Context, err, lost error) error {
	if err == nil {
		d.back(ctx)
		return nil
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		return d.answerError(ctx, answer, lost)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow): // the caller's time is over, which says little of PostgreSQL
		return fmt.Errorf("%w: %w", lost, ctx.Err())
	}
	d.gone(ctx, err)
	return fmt.Errorf("%w: %s", lost, oneLine(err))
}

// answerError makes the error of an answer of PostgreSQL, by its class. The classes are those of appendix A of its manual.
func (d *DB) answerError(ctx context.Context, answer *pgconn.PgError, lost error) error {
	switch code := answer.Code; {
	case strings.HasPrefix(code, "57P"): // it shuts down, starts, or has crashed
		d.gone(ctx, answer)
		return fmt.Errorf("%w: %s", lost, answer.Message)
	case code == "42P01" || code == "3F000" || code == "42703":
		d.ready.Store(false)
		return fmt.Errorf("%w: its tables are missing or of another version: run `arrakis migrate up`", store.ErrAway)
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "28"), strings.HasPrefix(code, "53"), code == "3D000",
		code == "25006":
		// No connection, wrong user, no room, no such database, a standby: until somebody acts.
		d.gone(ctx, answer)
		return fmt.Errorf("%w: %s", store.ErrAway, answer.Message)
	case code == "42501": // a right is missing
		d.gone(ctx, answer)
		return fmt.Errorf("%w: %s: docs/postgres.md has the rights that the user of workers needs; `arrakis migrate up` needs the owner of the database", store.ErrAway, answer.Message)
	case code == "26000" || code == "42P05": // a statement that was prepared on another connection
		return fmt.Errorf("PostgreSQL: %s (%s); behind PgBouncer, add default_query_exec_mode=exec to POSTGRES_URL", answer.Message, code)
	case code == "57014" || code == "55P03": // it has ended the statement, by statement_timeout or lock_timeout, and answers
		return fmt.Errorf("%w: %s", store.ErrAway, answer.Message)
	case strings.HasPrefix(code, "22"): // data that it cannot keep
		return &tenant.FieldError{Reason: "cannot be kept by PostgreSQL: " + answer.Message}
	default:
		return fmt.Errorf("PostgreSQL: %s (%s)", answer.Message, code)
	}
}

// raced reports whether PostgreSQL has given a statement up for another one, in a database whose default_transaction_isolation
// is stricter than that of PostgreSQL, or because of a deadlock.
func raced(err error) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (answer.Code == "40001" || answer.Code == "40P01")
}

// gone records that PostgreSQL is away, and logs it once.
func (d *DB) gone(ctx context.Context, err error) {
	d.metrics.errors.Inc()
	d.why.Store(reasonOf(err)) // before again, whose reader needs it
	d.again.Store(time.Now().Add(awayFor).UnixNano())
	if !d.away.Swap(true) {
		d.log.WarnContext(ctx, "PostgreSQL is away: tenants cannot be changed until it is back", "err", oneLine(err))
	}
	d.metrics.up.Set(0)
}

// back records that PostgreSQL answers.
func (d *DB) back(ctx context.Context) {
	d.again.Store(0)
	if d.away.Swap(false) {
		d.log.InfoContext(ctx, "PostgreSQL is back")
	}
	d.metrics.up.Set(1)
}

// reasonOf is why a call has failed: what PostgreSQL has answered, if it has.
func reasonOf(err error) string {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		return answer.Message
	}
	return oneLine(err)
}

// oneLine is the text of an error on one line, without the URL that an error of package url has, which may hold a
// password. Of lines that repeat, as where pgx has tried an address with TLS and without, it has one.
func oneLine(err error) string {
	if bad, ok := errors.AsType[*url.Error](err); ok {
		err = bad.Err
	}
	lines := slices.Compact(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }))
	return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
}
