package record

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"arrakis/tenant/store"
)

const (
	// fillBatch is how many documents are read and given to Redis at a time.
	fillBatch = 1000
	// fillers is how many parts are given to Redis at the same time.
	fillers = 2
)

// Progress is told how many documents of all are done. It returns soon.
type Progress func(done, all int)

// Rebuild gives Redis all documents that it lacks or has an older version of, and returns how many PostgreSQL has. Then
// every process reads all documents again. Documents may be changed meanwhile. It waits while another process fills Redis.
func (d *DB) Rebuild(ctx context.Context, m store.Mirror, progress Progress) (documents int, err error) {
	if err := d.usable(ctx, m); err != nil {
		return 0, err
	}
	err = d.afterOthers(ctx, func(ctx context.Context) (err error) {
		documents, err = d.fill(ctx, m, progress)
		return err
	})
	return documents, err
}

// usable returns nil if this database is the system of record, and Redis may have its documents.
func (d *DB) usable(ctx context.Context, m store.Mirror) error {
	if err := d.ensureTables(ctx); err != nil {
		return err
	}
	self, err := d.self(ctx)
	if err == nil {
		err = inactive(self.state)
	}
	if err != nil {
		return err
	}
	return d.owns(ctx, m, self.id)
}

// filling begins what Redis says, in place of the ID of the database, while it is filled. What follows is the ID, and
// which attempt that is. A Redis that loses its documents meanwhile loses this too, and so is filled again.
const filling = "filling:"

// fillingMark is a new value of that kind.
func fillingMark(id string) string { return filling + id + ":" + rand.Text() }

// isFilled reports whether Redis is filled from the database id, or was when the process that did so died.
func isFilled(owner, id string) bool { return strings.HasPrefix(owner, filling+id+":") }

// fill gives Redis all documents, tells every process, and says that Redis has them. The caller holds the lock of alone.
func (d *DB) fill(ctx context.Context, m store.Mirror, progress Progress) (documents int, err error) {
	self, err := d.self(ctx)
	if err == nil {
		err = inactive(self.state) // a move may have ended meanwhile
	}
	if err != nil {
		return 0, err
	}
	owner, err := m.Owner(ctx)
	if err != nil {
		return 0, err
	}
	attempt := fillingMark(self.id)
	if err := setOwner(ctx, m, owner, attempt); err != nil {
		return 0, err
	}
	if documents, err = d.applyAll(ctx, m, progress); err != nil {
		return 0, err
	}
	// Before Redis says that it has them: if this process dies, another one fills it again, and tells every process.
	if err := m.ReloadAll(ctx); err != nil {
		return 0, fmt.Errorf("fill Redis: %w", err)
	}
	return documents, setOwner(ctx, m, attempt, self.id)
}

// setOwner sets whose copies Redis has, if nothing else has done so meanwhile.
func setOwner(ctx context.Context, m store.Mirror, was, owner string) error {
	set, err := m.SetOwner(ctx, was, owner, 0)
	if err == nil && !set {
		err = fmt.Errorf("%s has changed meanwhile, because Redis has lost its documents again or a move has begun; a worker fills it again", store.RecordKey)
	}
	if err != nil {
		return fmt.Errorf("fill Redis: %w", err)
	}
	return nil
}

// applyAll gives Redis all documents that are newer than what it has.
func (d *DB) applyAll(ctx context.Context, m store.Mirror, progress Progress) (documents int, err error) {
	all, err := d.count(ctx)
	if err != nil {
		return 0, err
	}
	g, gctx := errgroup.WithContext(ctx)
	parts := make(chan []store.Copy) // walk sends and closes
	g.Go(func() error {
		defer close(parts)
		return d.walk(gctx, func(copies []store.Copy) error {
			select {
			case parts <- copies:
				documents += len(copies)
				progress.tell(documents, all)
				return nil
			case <-gctx.Done():
				return gctx.Err()
			}
		})
	})
	for range fillers {
		g.Go(func() error {
			for copies := range parts {
				if _, err := m.Apply(gctx, copies); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait() // before documents is read
	return documents, err
}

func (p Progress) tell(done, all int) {
	if p != nil {
		p(done, max(done, all))
	}
}

// count is how many documents there are.
func (d *DB) count(ctx context.Context) (n int, err error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	err = d.pool.QueryRow(ctx, `SELECT count(*) FROM arrakis.documents WHERE doc IS NOT NULL AND kind = ANY($1)`, store.Kinds()).Scan(&n)
	return n, d.readError(ctx, err)
}

// walk calls f with all documents, a part at a time, by kind and ID. It goes from kind to kind, because the index leads to
// the next part of one kind only.
func (d *DB) walk(ctx context.Context, f func([]store.Copy) error) error {
	for _, kind := range store.Kinds() {
		for from := ""; ; {
			copies, err := d.part(ctx, kind, from)
			if err != nil {
				return err
			}
			if len(copies) == 0 {
				break
			}
			from = copies[len(copies)-1].Name.ID + "\x01" // the next text by bytes: PostgreSQL knows no NUL
			if err := f(copies); err != nil {
				return err
			}
		}
	}
	return nil
}

// part reads the first documents of a kind whose ID is from or behind it.
func (d *DB) part(ctx context.Context, kind store.Kind, from string) ([]store.Copy, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	rows, _ := d.pool.Query(ctx, `SELECT id, doc::text, version FROM arrakis.documents
		WHERE kind = $1 AND id >= $2 AND doc IS NOT NULL ORDER BY id LIMIT $3`, string(kind), from, fillBatch) // CollectRows returns the error
	copies, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (store.Copy, error) {
		c := store.Copy{Name: store.Name{Kind: kind}}
		err := r.Scan(&c.Name.ID, &c.Text, &c.Number)
		return c, err
	})
	return copies, d.readError(ctx, err)
}
