package record

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant/store"
)

// move is a move that is under way.
type move struct {
	db     *DB
	mirror store.Mirror
	o      MoveOptions
	moved  Moved
	done   int
}

func newMove(d *DB, m store.Mirror, o MoveOptions) *move {
	return &move{db: d, mirror: m, o: o, moved: Moved{Documents: make(map[store.Kind]int), Unusable: []string{}}}
}

// in copies all documents of Redis into PostgreSQL, and verifies that both have the same. With DryRun, it only counts.
func (mv *move) in(ctx context.Context) error {
	if !mv.o.DryRun {
		if err := mv.mirror.AwaitWriters(ctx); err != nil {
			return err
		}
	}
	err := mv.mirror.Walk(ctx, func(names []store.Name) error { return mv.take(ctx, names) })
	if err == nil && mv.done == 0 {
		err = mv.keepOthers(ctx)
	}
	if err == nil {
		err = mv.deleteOthers(ctx)
	}
	switch {
	case err != nil:
		return fmt.Errorf("move to PostgreSQL: %w", err)
	case len(mv.moved.Unusable) > 0:
		return fmt.Errorf("%d and more documents of Redis are not JSON objects, such as %s: replace or delete them first", len(mv.moved.Unusable), mv.moved.Unusable[0])
	case mv.o.DryRun:
		return nil
	}
	if _, err := mv.db.applyAll(ctx, mv.mirror, mv.o.Numbered); err != nil { // the copies get their numbers
		return err
	}
	return mv.verify(ctx, RepairNone)
}

// take copies documents of Redis.
func (mv *move) take(ctx context.Context, names []store.Name) error {
	stored, err := mv.mirror.Stored(ctx, names)
	if err != nil {
		return err
	}
	taken := make(map[store.Name]bool, len(names)) // a name may come twice
	var kept []store.Name
	var texts []string
	var numbers []int64
	for i, n := range names {
		switch text := stored[i].Text; {
		case !stored[i].Exists() || taken[n]:
		case jsontext.Value(text).Kind() != '{' || !jsontext.Value(text).IsValid():
			if len(mv.moved.Unusable) < maxNamed {
				mv.moved.Unusable = append(mv.moved.Unusable, n.String())
			}
		default:
			taken[n] = true
			kept, texts, numbers = append(kept, n), append(texts, text), append(numbers, stored[i].Number())
			mv.moved.Documents[n.Kind]++
		}
	}
	mv.done += len(kept)
	mv.o.Read.tell(mv.done, mv.done)
	changed, err := mv.put(ctx, kept, texts, numbers)
	mv.moved.Changed += changed
	return err
}

// put writes documents, and returns how many were not there like this.
func (mv *move) put(ctx context.Context, names []store.Name, texts []string, numbers []int64) (changed int, err error) {
	if mv.o.DryRun {
		copies, _, err := mv.db.copies(ctx, names)
		for i := range copies {
			if copies[i].Text != texts[i] {
				changed++
			}
		}
		return changed, err
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	kinds, ids := columns(names)
	tag, err := mv.db.pool.Exec(ctx, `INSERT INTO arrakis.documents AS d (kind, id, doc, version, updated_at)
		SELECT kind, id, doc::json, greatest(`+clockVersion+`, number + 1), clock_timestamp()
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS n (kind, id, doc, number)
		ON CONFLICT (kind, id) DO UPDATE SET doc = EXCLUDED.doc, version = greatest(d.version + 1, EXCLUDED.version), updated_at = EXCLUDED.updated_at
			WHERE d.doc::text IS DISTINCT FROM EXCLUDED.doc::text`, kinds, ids, texts, numbers)
	return int(tag.RowsAffected()), mv.db.writeError(ctx, err)
}

// keepOthers returns an error if PostgreSQL has documents of an earlier time: a Redis that has none at all may have lost them,
// and these may be all that is left.
func (mv *move) keepOthers(ctx context.Context) error {
	left, err := mv.db.count(ctx)
	if err == nil && left > 0 {
		err = fmt.Errorf("Redis has no documents, and PostgreSQL still has %d of an earlier time, which this would delete: was Redis lost? "+ //nolint:staticcheck // Redis is a name
			"docs/postgres.md#back-to-redis says how PostgreSQL counts again", left)
	}
	return err
}

// deleteOthers deletes documents that Redis does not have: they are of an earlier time at which PostgreSQL had them.
func (mv *move) deleteOthers(ctx context.Context) error {
	return mv.db.walk(ctx, func(copies []store.Copy) error {
		names := make([]store.Name, len(copies))
		for i := range copies {
			names[i] = copies[i].Name
		}
		stored, err := mv.mirror.Stored(ctx, names)
		if err != nil {
			return err
		}
		var gone []store.Name
		for i := range stored {
			if !stored[i].Exists() {
				gone = append(gone, names[i])
			}
		}
		mv.moved.Deleted += len(gone)
		if len(gone) == 0 || mv.o.DryRun {
			return nil
		}
		ctx, cancel := patient(ctx)
		defer cancel()
		kinds, ids := columns(gone)
		_, err = mv.db.pool.Exec(ctx, `UPDATE arrakis.documents AS d
			SET doc = NULL, version = greatest(`+clockVersion+`, d.version + 1), updated_at = clock_timestamp()
			FROM unnest($1::text[], $2::text[]) AS n (kind, id) WHERE d.kind = n.kind AND d.id = n.id COLLATE "C"`, kinds, ids)
		return mv.db.writeError(ctx, err)
	})
}

// columns are the columns of names.
func columns(names []store.Name) (kinds, ids []string) {
	kinds, ids = make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		kinds[i], ids[i] = string(n.Kind), n.ID
	}
	return kinds, ids
}

// out sees to it that Redis has all documents, and that nobody changes them in PostgreSQL any more.
func (mv *move) out(ctx context.Context, state string) error {
	if state == stateMoved { // an earlier move has done all of it
		return nil
	}
	if err := mv.db.setState(ctx, stateMovingOut); err != nil {
		return err
	}
	err := mv.db.awaitWriters(ctx)
	if err == nil {
		err = mv.db.drain(ctx, mv.mirror)
	}
	if err == nil {
		err = mv.verify(ctx, RepairBehind)
	}
	if err != nil {
		if undo := mv.db.setState(ctx, stateActive); undo != nil {
			return fmt.Errorf("move to Redis: %w; and tenants cannot be changed until the move is repeated", err)
		}
		return fmt.Errorf("move to Redis: %w", err)
	}
	return mv.db.setState(ctx, stateMoved)
}

// awaitWriters waits until writers have ended that have seen another state of the database.
func (d *DB) awaitWriters(ctx context.Context) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	_, err := d.pool.Exec(ctx, `DO $$ BEGIN LOCK TABLE arrakis.documents IN SHARE ROW EXCLUSIVE MODE; END $$`)
	return d.readError(ctx, err)
}

// verify compares both sides.
func (mv *move) verify(ctx context.Context, repair Repair) error {
	report, err := mv.db.compareAll(ctx, mv.mirror, CompareOptions{Repair: repair, Progress: mv.o.Compared})
	if err != nil {
		return err
	}
	if len(mv.moved.Documents) == 0 {
		mv.moved.Documents = report.Kinds
	}
	mv.moved.Changed += report.Repaired
	switch left := report.Total() - report.Repaired; {
	case mv.o.DryRun:
	case left > 0:
		return fmt.Errorf("%d documents differ between Redis and PostgreSQL, such as %s; `arrakis tenant reconcile` says more", left, report.Named[0].Document)
	case report.Pending > 0:
		return fmt.Errorf("changes of %d documents did not reach Redis; repeat the move", report.Pending)
	}
	mv.moved.Verified = report.Total() == report.Repaired
	return nil
}
