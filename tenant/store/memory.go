package store

import (
	"context"
	"log/slog"

	"github.com/cespare/xxhash/v2"
	lru "github.com/hashicorp/golang-lru/v2"

	"arrakis/tenant"
)

// memory remembers the last usable document of each key. If the document in Redis becomes unusable, the last usable one
// is served. An unchanged document is not parsed again. memory is bounded and safe for concurrent use. Two goroutines
// that read a key at the same time may log its fault twice.
type memory[T document] struct {
	log  *slog.Logger
	last *lru.Cache[string, remembered[T]]
}

// remembered is the entry of one key.
type remembered[T document] struct {
	good *T     // the last usable document; nil: there was none
	sum  uint64 // XXH64 of the last text, usable or not
}

func newMemory[T document](size int, log *slog.Logger) *memory[T] {
	last, err := lru.New[string, remembered[T]](size)
	if err != nil {
		panic("store: memory without a size") // New gives a positive size
	}
	return &memory[T]{log: log, last: last}
}

// read parses the text of key. A nil text means that the key is absent. The result is shared and must not be changed.
// It is nil if the key is absent, and if the key has never had a usable document.
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
	if doc, err := tenant.ParseStored[T]([]byte(*text)); err == nil {
		now.good = &doc
	} else {
		m.log.ErrorContext(ctx, "document in Redis cannot be used; replace or delete it",
			"key", key, "err", err, "last_good", was.good != nil)
	}
	m.last.Add(key, now)
	return now.good
}
