package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// location is the place of a document in Redis: a key, or a field of the hash at the key.
type location struct {
	key, field string
}

func configLocation(id string) location { return location{key: configPrefix + id} }

func flagLocation(id string) location { return location{key: flagsKey, field: id} }

func (l location) String() string {
	if l.field == "" {
		return l.key
	}
	return l.key + " " + l.field
}

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

// get reads the document at loc. It returns ErrNotFound if there is no document, and a *StoredError together with the
// version if the document cannot be used.
func get[T document](ctx context.Context, rdb redis.Cmdable, loc location) (T, Version, error) {
	var zero T
	text, err := loc.get(ctx, rdb).Result()
	if errors.Is(err, redis.Nil) {
		return zero, "", ErrNotFound
	}
	if err != nil {
		return zero, "", fmt.Errorf("read %s: %w", loc, err)
	}
	doc, err := tenant.ParseStored[T]([]byte(text))
	if err != nil {
		return zero, versionOf(text), &StoredError{Key: loc.String(), Err: err}
	}
	return doc, versionOf(text), nil
}
