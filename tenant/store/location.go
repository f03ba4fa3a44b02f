package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// place is where a document is kept: a key, or a field of a hash.
type place struct {
	key, field string
}

func (p place) String() string {
	if p.field == "" {
		return p.key
	}
	return p.key + " " + p.field
}

func (p place) get(ctx context.Context, rdb redis.Cmdable) *redis.StringCmd {
	if p.field == "" {
		return rdb.Get(ctx, p.key)
	}
	return rdb.HGet(ctx, p.key, p.field)
}

// set queues the command that stores text, or deletes for an empty one.
func (p place) set(ctx context.Context, pipe redis.Pipeliner, text string) {
	switch {
	case text == "" && p.field == "":
		pipe.Del(ctx, p.key)
	case text == "":
		pipe.HDel(ctx, p.key, p.field)
	case p.field == "":
		pipe.Set(ctx, p.key, text, 0)
	default:
		pipe.HSet(ctx, p.key, p.field, text)
	}
}

// get reads the document at p. It returns ErrNotFound, or a *StoredError with
// the version.
func get[T any](ctx context.Context, rdb redis.Cmdable, p place, parse func([]byte) (T, error)) (T, Version, error) {
	var zero T
	text, err := p.get(ctx, rdb).Result()
	if errors.Is(err, redis.Nil) {
		return zero, "", ErrNotFound
	}
	if err != nil {
		return zero, "", fmt.Errorf("read %s: %w", p, err)
	}
	doc, err := parse([]byte(text))
	if err != nil {
		return zero, versionOf(text), &StoredError{Key: p.String(), Err: err}
	}
	return doc, versionOf(text), nil
}
