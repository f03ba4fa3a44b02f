package record

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"arrakis/tenant/store"
)

// movingLast is how long Redis says that documents are moved after the process that moves them has died.
const movingLast = 30 * time.Second

// MoveOptions are the options of a move.
type MoveOptions struct {
	// DryRun reads everything, and says what would be moved; nothing is changed.
	DryRun bool
	// Read, Numbered and Compared are told how many documents are done, each in its step. A move to Redis only compares.
	// They may be nil.
	Read, Numbered, Compared Progress
}

// Moved is the result of a move.
type Moved struct {
	Documents map[store.Kind]int `json:"documents"` // that the source has
	Changed   int                `json:"changed"`   // of them, those that the destination did not have like this
	Deleted   int                `json:"deleted"`   // documents of the destination that the source does not have
	Unusable  []string           `json:"unusable"`  // some of those that are not JSON objects, and cannot be moved
	Verified  bool               `json:"verified"`  // both sides were compared, and are the same
}

// MoveFromRedis makes this database the system of record: it gets all documents that Redis has. Meanwhile nobody can
// change documents; what is in force stays. Afterwards they are changed in PostgreSQL alone, and the audit log is there
// too. If a move fails, Redis stays the system of record. If its process dies, documents cannot be changed for half a
// minute; then repeat the move.
func (d *DB) MoveFromRedis(ctx context.Context, m store.Mirror, o MoveOptions) (Moved, error) {
	mv := newMove(d, m, o)
	err := mv.fromRedis(ctx)
	if err == nil && !o.DryRun {
		_ = d.takeAudit(ctx, m) // what cannot be taken now stays in Redis, from where the relay takes it
	}
	return mv.moved, err
}

func (mv *move) fromRedis(ctx context.Context) error {
	d, m := mv.db, mv.mirror
	if err := mv.tables(ctx); err != nil {
		return err
	}
	id, state, owner, err := mv.begin(ctx)
	switch {
	case err != nil:
		return err
	case state == stateActive:
		return fmt.Errorf("%w: PostgreSQL has the tenants already; `arrakis tenant reconcile` compares Redis with it", store.ErrElsewhere)
	case state == stateMovingOut:
		return inactive(state)
	case mv.o.DryRun:
		return mv.in(ctx)
	}
	ctx, release, err := hold(ctx, m, owner, store.Moving+":"+id)
	if err != nil {
		return err
	}
	// A database in this state is used by nobody, and taken over by no worker that starts.
	if err = d.setState(ctx, stateMovingIn); err == nil {
		err = mv.in(ctx)
	}
	if err != nil {
		return errors.Join(err, release(owner))
	}
	if err := release(id); err != nil { // first, so that there is no moment at which both can be changed
		return err
	}
	return d.setState(ctx, stateActive)
}

// tables makes the tables if they are missing; a dry run, which changes nothing, only says so.
func (mv *move) tables(ctx context.Context) error {
	if !mv.o.DryRun {
		return mv.db.ensureTables(ctx)
	}
	pending, err := mv.db.pending(ctx)
	if err == nil && pending {
		err = errors.New("the tables of PostgreSQL are missing or of another version: run `arrakis migrate up`")
	}
	return err
}

// MoveToRedis makes Redis the system of record again. Meanwhile nobody can change documents; what is in force stays. The
// audit log stays in PostgreSQL. If a move fails, PostgreSQL stays the system of record. If its process dies,
// repeat the move. It waits while another process fills Redis, or compares and repairs: that would give Redis what is no
// longer in force there.
func (d *DB) MoveToRedis(ctx context.Context, m store.Mirror, o MoveOptions) (Moved, error) {
	mv := newMove(d, m, o)
	err := d.afterOthers(ctx, mv.toRedis)
	return mv.moved, err
}

func (mv *move) toRedis(ctx context.Context) error {
	id, state, owner, err := mv.begin(ctx)
	switch {
	case err != nil:
		return err
	case state == stateMoved && owner == "":
		return fmt.Errorf("%w: the tenants are in Redis already", store.ErrElsewhere)
	case state != stateActive && state != stateMoved && state != stateMovingOut:
		return inactive(state)
	case mv.o.DryRun:
		return mv.verify(ctx, RepairNone)
	}
	mark := fillingMark(id)
	if err := setOwner(ctx, mv.mirror, owner, mark); err != nil {
		return err
	}
	if err := mv.out(ctx, state); err != nil {
		_, undo := mv.mirror.SetOwner(context.WithoutCancel(ctx), mark, owner, 0)
		return errors.Join(err, undo)
	}
	set, err := mv.mirror.SetOwner(ctx, mark, "", 0)
	switch {
	case err != nil:
		return errors.Join(errors.New("the tenants are moved, but Redis does not say so yet: repeat the move"), err)
	case !set: // what was given to it is lost too
		return errors.Join(errors.New("Redis has lost its documents meanwhile: they stay in PostgreSQL, from which a worker fills Redis"), //nolint:staticcheck // Redis is a name
			mv.db.setState(ctx, stateActive))
	}
	return nil
}

// begin reads what both sides say of themselves. The error says that Redis has the copies of another database.
func (mv *move) begin(ctx context.Context) (id, state, owner string, err error) {
	self, err := mv.db.self(ctx)
	if err != nil {
		return "", "", "", err
	}
	owner, err = mv.mirror.Owner(ctx)
	if err == nil && owner != "" && owner != self.id && !isFilled(owner, self.id) {
		err = foreign(owner, self.id)
	}
	return self.id, self.state, owner, err
}

// hold sees to it that nobody changes documents in Redis until release is called, which says what Redis says then. The
// context ends when Redis does not say so any more.
func hold(ctx context.Context, m store.Mirror, owner, moving string) (held context.Context, release func(owner string) error, err error) {
	if set, err := m.SetOwner(ctx, owner, moving, movingLast); err != nil {
		return nil, nil, err
	} else if !set {
		return nil, nil, fmt.Errorf("%w: another move has just begun", store.ErrElsewhere)
	}
	held, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		for begun := time.Now(); time.Since(begun) < movingLast/2; {
			select {
			case <-held.Done():
				return
			case <-time.After(movingLast / 6):
			}
			if set, err := m.SetOwner(held, moving, moving, movingLast); err == nil && set {
				begun = time.Now()
			}
		}
	})
	release = func(owner string) error {
		cancel()
		wg.Wait()
		ctx := context.WithoutCancel(ctx)
		set, err := m.SetOwner(ctx, moving, owner, 0)
		if err == nil && !set {
			err = errors.New("it was taken from this process")
		}
		if err != nil {
			return fmt.Errorf("tell in Redis that the move has ended (%s): %w; repeat the move", store.RecordKey, err)
		}
		return nil
	}
	return held, release, nil
}

// setState says whether documents are changed in this database.
func (d *DB) setState(ctx context.Context, state string) error {
	ctx, cancel := timed(context.WithoutCancel(ctx))
	defer cancel()
	_, err := d.pool.Exec(ctx, `UPDATE arrakis.record SET state = $1, since = clock_timestamp()`, state)
	if err := d.writeError(ctx, err); err != nil {
		return fmt.Errorf("say in PostgreSQL that the tenants are %s: %w; repeat the move", state, err)
	}
	return nil
}
