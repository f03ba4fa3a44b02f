package store

import (
	"context"
	_ "embed" // apply.lua
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

const (
	// RecordKey says which system of record Redis has the copies of: the ID of the database, with more around it
	// while Redis is filled; a move says [Moving] there while it runs. Without the key, Redis itself is the system of record.
	RecordKey = "arrakis:record"
	// Moving is the value of RecordKey while documents are moved. It begins the value; what follows says which move.
	Moving = "moving"

	// deletedKept is how long Redis remembers the number of a deleted document. A writer that was frozen for longer than
	// that could bring the document back, until documents are compared.
	deletedKept = 24 * time.Hour

	// clusterWrite is more than a write takes on a Cluster.
	clusterWrite = 5 * time.Second
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
func IsMoving(owner string) bool { return strings.HasPrefix(owner, Moving) }

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

// inRedis is the text that Redis gets of c.
func (c *Copy) inRedis() string {
	if c.Text == "" {
		return ""
	}
	return withNumber(c.Text, c.Number)
}

// Is reports whether what Redis has is c, byte for byte.
func (c *Copy) Is(has Stored) bool { return has.raw == c.inRedis() }

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
			loc := c.Name.location()
			cmds[i] = applyScript.EvalSha(ctx, pipe, []string{loc.key, loc.deletedKey()}, loc.field, c.inRedis(), c.Number, deletedKept.Milliseconds())
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

// Owner returns the value of [RecordKey], "" if there is none.
func (m Mirror) Owner(ctx context.Context) (string, error) {
	owner, err := m.store.rdb.Get(ctx, RecordKey).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return owner, err
}

// SetOwner sets the value of [RecordKey] if it is was, where "" means that there is none, and reports whether it did. An
// empty owner removes it. If last is not 0, the key ends after that time.
func (m Mirror) SetOwner(ctx context.Context, was, owner string, last time.Duration) (bool, error) {
	err := m.store.rdb.Watch(ctx, func(tx *redis.Tx) error {
		now, err := tx.Get(ctx, RecordKey).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if now != was {
			return redis.TxFailedErr
		}
		_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			if owner == "" {
				return pipe.Del(ctx, RecordKey).Err()
			}
			return pipe.Set(ctx, RecordKey, owner, last).Err()
		})
		return err
	}, RecordKey)
	if errors.Is(err, redis.TxFailedErr) {
		return false, nil
	}
	return err == nil, err
}

// Servers are the IDs of the servers of Redis, sorted. A server that was started again, and one that took over, has
// another ID.
func (m Mirror) Servers(ctx context.Context) ([]string, error) {
	nodes, err := m.store.nodes(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(nodes))
	for _, n := range nodes {
		info, err := n.rdb.Info(ctx, "server").Result()
		if err != nil {
			return nil, err
		}
		_, id, _ := strings.Cut(info, "run_id:")
		id, _, _ = strings.Cut(id, "\r\n")
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Stored returns what Redis has of the documents, in the same order. Of one that is not there, it returns what Redis knows of
// its deletion.
func (m Mirror) Stored(ctx context.Context, names []Name) ([]Stored, error) {
	stored, err := m.present(ctx, names)
	if err != nil {
		return nil, err
	}
	deleted := make(map[int]*redis.StringCmd)
	_, _ = m.store.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { // the error of each is checked below
		for i, n := range names {
			if !stored[i].Exists() {
				deleted[i] = pipe.Get(ctx, n.location().deletedKey())
			}
		}
		return nil
	})
	for i, cmd := range deleted {
		if stored[i].deleted, err = cmd.Result(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read which documents of Redis are deleted: %w", err)
		}
	}
	return stored, nil
}

// present is Stored without what is deleted.
func (m Mirror) present(ctx context.Context, names []Name) ([]Stored, error) {
	cmds := make([]*redis.StringCmd, len(names))
	_, _ = m.store.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { // the error of each is checked below
		for i, n := range names {
			cmds[i] = n.location().get(ctx, pipe)
		}
		return nil
	})
	stored := make([]Stored, len(names))
	for i, cmd := range cmds {
		text, err := cmd.Result()
		switch {
		case err == nil:
			stored[i] = storedIn(text)
		case redis.HasErrorPrefix(err, wrongType):
			stored[i] = Stored{Text: wrongType, Version: wrongType}
		case !errors.Is(err, redis.Nil):
			return nil, fmt.Errorf("read %d documents of Redis: %w", len(names), err)
		}
	}
	return stored, nil
}

// Walk calls f with the names of all documents that Redis has, a part at a time. A name may come twice, and documents that
// are added or deleted meanwhile may come or not.
func (m Mirror) Walk(ctx context.Context, f func([]Name) error) error {
	for _, fixed := range []func(context.Context) ([]Name, error){m.flagNames, m.tiersNames} {
		names, err := fixed(ctx)
		if err == nil && len(names) > 0 {
			err = f(names)
		}
		if err != nil {
			return err
		}
	}
	for _, kind := range []Kind{KindTenant, KindAccount} {
		if err := m.walkKeys(ctx, kind, f); err != nil {
			return err
		}
	}
	return nil
}

// walkKeys is Walk for documents of a kind that have a key each.
func (m Mirror) walkKeys(ctx context.Context, kind Kind, f func([]Name) error) error {
	nodes, err := m.store.nodes(ctx)
	if err != nil {
		return err
	}
	prefix := Name{Kind: kind}.location().key
	for _, n := range nodes {
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			var keys []string
			if keys, cursor, err = n.rdb.Scan(ctx, cursor, prefix+"*", walkCount).Result(); err != nil {
				return err
			}
			names := make([]Name, 0, len(keys))
			for _, key := range keys {
				if id := strings.TrimPrefix(key, prefix); tenant.ValidID(id) {
					names = append(names, Name{kind, id})
				}
			}
			if len(names) == 0 {
				continue
			}
			if err := f(names); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m Mirror) flagNames(ctx context.Context) ([]Name, error) {
	ids, err := m.store.rdb.HKeys(ctx, flagsKey).Result()
	if redis.HasErrorPrefix(err, wrongType) {
		return nil, nil
	}
	names := make([]Name, 0, len(ids))
	for _, id := range ids {
		if tenant.ValidFlagID(id) {
			names = append(names, Name{KindFlag, id})
		}
	}
	return names, err
}

func (m Mirror) tiersNames(ctx context.Context) ([]Name, error) {
	n, err := m.store.rdb.Exists(ctx, tiersKey).Result()
	if err != nil || n == 0 {
		return nil, err
	}
	return []Name{{Kind: KindTiers}}, nil
}

// BufferedAudit returns up to n entries of the audit log that wait in Redis, the oldest first. They are of changes that are
// not documents'.
func (m Mirror) BufferedAudit(ctx context.Context, n int64) ([]AuditEntry, error) {
	found, err := m.store.rdb.XRangeN(ctx, AuditKey, "-", "+", n).Result()
	if redis.HasErrorPrefix(err, wrongType) {
		return nil, nil
	}
	entries := make([]AuditEntry, len(found))
	for i, message := range found {
		entries[i] = auditEntry(message)
	}
	return entries, err
}

// DropAudit removes entries that wait no longer.
func (m Mirror) DropAudit(ctx context.Context, entries []AuditEntry) error {
	ids := make([]string, len(entries))
	for i := range entries {
		ids[i] = entries[i].ID
	}
	return m.store.rdb.XDel(ctx, AuditKey, ids...).Err()
}

// ReloadAll makes every process read all documents again.
func (m Mirror) ReloadAll(ctx context.Context) error {
	return m.store.appendChanges(ctx, m.store.rdb, tenant.Event{Type: tenant.GlobalChanged})
}

//go:embed replace.lua
var replaceText string

// Replace gives Redis the document c in place of what it was seen to have, whatever their numbers, and returns 1. If
// Redis has something else by now, it returns 0.
func (m Mirror) Replace(ctx context.Context, seen Stored, c Copy) (replaced int, err error) {
	loc := c.Name.location()
	n, err := m.store.rdb.Eval(ctx, replaceText, []string{loc.key, loc.deletedKey()}, loc.field, seen.raw, c.inRedis(), seen.deleted).Int()
	if err != nil {
		return 0, fmt.Errorf("replace %s in Redis: %w", c.Name, err)
	}
	return n, nil
}

// AwaitWriters waits until writers have ended that have read [RecordKey] before it was set. A transaction of a single
// server fails when the key changes; on a Cluster nothing watches it, and a write is given time to end.
func (m Mirror) AwaitWriters(ctx context.Context) error {
	if !m.store.cluster {
		return nil
	}
	select {
	case <-time.After(clusterWrite):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
