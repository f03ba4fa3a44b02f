package store

import (
	"context"
	_ "embed" // apply.lua
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

const (
	// RecordKey says which system of record Redis has the copies of: the ID of the database; a move says [Moving]
	// there while it runs. Without the key, Redis itself is the system of record.
	RecordKey = "arrakis:record"
	// Moving is the value of RecordKey while documents are moved. It begins the value; what follows says which move.
	Moving = "moving"

	// deletedKept is how long Redis remembers the number of a deleted document. A writer that was frozen for longer than
	// that could bring the document back, until documents are compared.
	deletedKept = 24 * time.Hour
)

// elsewhere returns ErrElsewhere if the reply to a GET of RecordKey says that Redis is not the system of record.
func elsewhere(reply *redis.StringCmd) error {
	owner, err := reply.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", RecordKey, err)
	case IsMoving(owner):
		return fmt.Errorf("%w: tenants are being moved; try again when `arrakis tenant move` has ended", ErrElsewhere)
	default:
		return fmt.Errorf("%w: tenants are kept in PostgreSQL: set POSTGRES_URL, as the workers have it", ErrElsewhere)
	}
}

// IsMoving reports whether a value of RecordKey says that documents are being moved.
func IsMoving(owner string) bool { return len(owner) >= len(Moving) && owner[:len(Moving)] == Moving }

// Mirror is Redis as a copy of a system of record. It is safe for concurrent use.
type Mirror struct{ store *Store }

// Mirror is what the relay of a system of record writes to.
func (s *Store) Mirror() Mirror { return Mirror{s} }

// Copy is the state of a document in the system of record.
type Copy struct {
	Name   Name
	Text   string // "": it is deleted
	Number int64  // that rises with each change, from 1 to 2^53
	Source string // of who changed it, for the event that announces it
}

//go:embed apply.lua
var applyText string

var applyScript = redis.NewScript(applyText)

// Apply gives Redis the documents that are newer than what it has, in one round trip, and returns how many were. A
// document of Redis without a number counts as older. An error means that some may be there and some not; to repeat it
// does no harm.
func (m Mirror) Apply(ctx context.Context, copies []Copy) (newer int, err error) {
	if len(copies) == 0 {
		return 0, nil
	}
	newer, err = m.apply(ctx, copies)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = m.load(ctx); err == nil {
			newer, err = m.apply(ctx, copies)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("give Redis %d documents: %w", len(copies), err)
	}
	return newer, nil
}

func (m Mirror) apply(ctx context.Context, copies []Copy) (newer int, err error) {
	cmds := make([]*redis.Cmd, len(copies))
	_, err = m.store.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range copies {
			c := &copies[i]
			loc, text := c.Name.location(), ""
			if c.Text != "" {
				text = withNumber(c.Text, c.Number)
			}
			// The tag in braces puts both keys on the same node of a Cluster.
			cmds[i] = applyScript.EvalSha(ctx, pipe, []string{loc.key, "arrakis:deleted:{" + loc.key + "}" + loc.field},
				loc.field, text, c.Number, deletedKept.Milliseconds())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, cmd := range cmds {
		n, err := cmd.Int()
		if err != nil {
			return 0, err
		}
		newer += n
	}
	return newer, nil
}

// load gives every node the script.
func (m Mirror) load(ctx context.Context) error {
	nodes, err := m.store.nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.rdb.ScriptLoad(ctx, applyText).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Announce tells every process that documents have changed.
func (m Mirror) Announce(ctx context.Context, copies []Copy) error {
	if len(copies) == 0 {
		return nil
	}
	events := make([]tenant.Event, len(copies))
	for i := range copies {
		events[i] = copies[i].Name.event()
		events[i].Source = copies[i].Source
	}
	if err := m.store.appendChanges(ctx, m.store.rdb, events...); err != nil {
		return fmt.Errorf("announce %d changes: %w", len(copies), err)
	}
	return nil
}
