package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// Kind is a kind of documents.
type Kind string

// The kinds.
const (
	KindTenant  Kind = "tenant"  // a [tenant.Config], by the ID that messages carry
	KindAccount Kind = "account" // a [tenant.Account]
	KindFlag    Kind = "flag"    // a [tenant.Flag]
	KindTiers   Kind = "tiers"   // the [tenant.Tiers], of which there is one, with the ID ""
)

// Kinds returns all kinds that this release knows. A later one, which runs beside it while workers are replaced, may have
// stored others.
func Kinds() []Kind { return []Kind{KindTenant, KindAccount, KindFlag, KindTiers} }

// Name names a document.
type Name struct {
	Kind Kind
	ID   string
}

// String is the document's place in Redis: the key; for a hash the key, a space and the field.
func (n Name) String() string { return n.location().String() }

// location is the place of a document in Redis: a key, or a field of the hash at the key.
type location struct {
	key, field string
}

func (n Name) location() location {
	switch n.Kind {
	case KindTenant:
		return location{key: configPrefix + n.ID}
	case KindAccount:
		return location{key: accountPrefix + n.ID}
	case KindFlag:
		return location{key: flagsKey, field: n.ID}
	case KindTiers:
		return location{key: tiersKey}
	default:
		panic(fmt.Sprintf("store: no document is of the kind %q", n.Kind))
	}
}

// event announces a change of the document to every process.
func (n Name) event() tenant.Event {
	switch n.Kind {
	case KindTenant:
		return tenant.Event{Type: tenant.TenantChanged, TargetID: n.ID}
	case KindAccount:
		return tenant.Event{Type: tenant.AccountChanged, TargetID: n.ID}
	case KindFlag:
		return tenant.Event{Type: tenant.FlagChanged, TargetID: n.ID}
	default:
		return tenant.Event{Type: tenant.GlobalChanged}
	}
}

// shown is what the audit log keeps of the document.
func (n Name) shown(text string) AuditText {
	switch n.Kind {
	case KindTenant:
		return shown(text, (*tenant.Config).Known)
	case KindAccount:
		return shown(text, (*tenant.Account).Known)
	case KindFlag:
		return shown(text, (*tenant.Flag).Known)
	default:
		return shown(text, (*tenant.Tiers).Known)
	}
}

// entry is the change's entry in the audit log. The texts are those of the document, "" for none.
func (n Name) entry(before, after string) AuditEntry {
	return AuditEntry{Type: AuditType(n.Kind), Target: n.ID, Before: n.shown(before), After: n.shown(after)}
}

func (l location) String() string {
	if l.field == "" {
		return l.key
	}
	return l.key + " " + l.field
}

// deletedKey is the key of the number of a copy that is deleted. The tag in braces puts it on the node of the document on a
// Cluster.
func (l location) deletedKey() string { return "arrakis:deleted:{" + l.key + "}" + l.field }

func (l location) get(ctx context.Context, rdb redis.Cmdable) *redis.StringCmd {
	if l.field == "" {
		return rdb.Get(ctx, l.key)
	}
	return rdb.HGet(ctx, l.key, l.field)
}

// set queues the command that stores text. If text is empty, it queues the command that deletes the document.
func (l location) set(ctx context.Context, pipe redis.Pipeliner, text string) {
	switch {
	case text == "" && l.field == "":
		pipe.Del(ctx, l.key)
	case text == "":
		pipe.HDel(ctx, l.key, l.field)
	case l.field == "":
		pipe.Set(ctx, l.key, text, 0)
	default:
		pipe.HSet(ctx, l.key, l.field, text)
	}
}

// get reads the document n. It returns ErrNotFound if there is no document, and a *StoredError together with the version
// if the document cannot be used.
func get[T document](ctx context.Context, s *Store, n Name) (T, Version, error) {
	stored, err := s.stored(ctx, n)
	if err != nil {
		var none T
		return none, "", err
	}
	return parse[T](n, stored)
}

func parse[T document](n Name, stored Stored) (T, Version, error) {
	var none T
	if !stored.Exists() {
		return none, "", ErrNotFound
	}
	doc, err := tenant.ParseStored[T]([]byte(stored.Text))
	if err != nil {
		return none, stored.Version, &StoredError{Key: n.String(), Err: err}
	}
	return doc, stored.Version, nil
}

// stored reads what the system of record has of the document n. While the system of record is away, it is what Redis
// has, and what is in force.
func (s *Store) stored(ctx context.Context, n Name) (Stored, error) {
	if s.system != nil {
		stored, err := s.system.Read(ctx, n)
		if !errors.Is(err, ErrAway) && !errors.Is(err, ErrElsewhere) {
			return stored, err
		}
	}
	return s.mirrored(ctx, n)
}

// mirrored reads what Redis has of the document n.
func (s *Store) mirrored(ctx context.Context, n Name) (Stored, error) {
	text, err := n.location().get(ctx, s.rdb).Result()
	if errors.Is(err, redis.Nil) {
		return Stored{}, nil
	}
	if err != nil {
		return Stored{}, fmt.Errorf("read %s: %w", n, err)
	}
	return storedIn(text), nil
}
