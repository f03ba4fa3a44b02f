package store

import (
	"context"
	"log/slog"

	"github.com/cespare/xxhash/v2"
	lru "github.com/hashicorp/golang-lru/v2"
)

// memory remembers the last good document of each key, so that one which goes
// bad in Redis is served as it was, and one that has not changed is not parsed
// again. It is bounded, and safe for concurrent use: two that read one key at
// once may log its fault twice.
type memory[T any] struct {
	parse func([]byte) (T, error)
	log   *slog.Logger
	last  *lru.Cache[string, remembered[T]]
}

// remembered is what memory holds of one key.
type remembered[T any] struct {
	good *T     // nil: none has been good so far
	sum  uint64 // XXH64 of the text seen last, good or bad
}

func newMemory[T any](size int, log *slog.Logger, parse func([]byte) (T, error)) *memory[T] {
	last, err := lru.New[string, remembered[T]](size)
	if err != nil {
		panic("store: memory of no size") // New gives a positive one
	}
	return &memory[T]{parse: parse, log: log, last: last}
}

// read parses the text of key, nil for an absent one. The result is shared and
// must not be changed. It is nil for an absent document and for a bad one of
// which no good content is known.
func (m *memory[T]) read(ctx context.Context, key string, text *string) *T {
	if text == nil {
		m.last.Remove(key)
		return nil
	}
	sum := xxhash.Sum64String(*text)
	was, ok := m.last.Get(key)
	if ok && was.sum == sum {
		return was.good
	}
	now := remembered[T]{good: was.good, sum: sum}
	if doc, err := m.parse([]byte(*text)); err == nil {
		now.good = &doc
	} else {
		m.log.ErrorContext(ctx, "document in Redis cannot be used; replace or delete it",
			"key", key, "err", err, "last_good", was.good != nil)
	}
	m.last.Add(key, now)
	return now.good
}
