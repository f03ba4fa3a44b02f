package store

import (
	"context"
	"log/slog"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"arrakis/tenant"
)

// memory remembers the last usable document of each key. If the document in Redis becomes unusable, the last usable one
// is served. An unchanged document is not parsed again. memory is bounded and safe for concurrent use.
type memory[T document] struct {
	log *slog.Logger

	mu       sync.Mutex // protects the fields below
	last     *simplelru.LRU[string, remembered[T]]
	unusable map[string]struct{} // the keys of last whose document cannot be used
}

// remembered is the entry of one key.
type remembered[T document] struct {
	good *T     // the last usable document; nil: there was none
	sum  uint64 // XXH64 of the last text, usable or not
}

func newMemory[T document](size int, log *slog.Logger) *memory[T] {
	m := &memory[T]{log: log, unusable: make(map[string]struct{})}
	var err error
	m.last, err = simplelru.NewLRU(size, func(key string, _ remembered[T]) { delete(m.unusable, key) })
	if err != nil {
		panic("store: memory without a size") // New gives a positive size
	}
	return m
}

// read parses the text of key. A nil text means that the key is absent. The document is shared and must not be changed.
// It is nil if the key is absent, and if the key has never had a usable document. usable is false if the text cannot be
// used; then the document is an earlier one.
func (m *memory[T]) read(ctx context.Context, key string, text *string) (doc *T, usable bool) {
	if text == nil {
		m.forget(ctx, key)
		return nil, true
	}
	sum := xxhash.Sum64String(*text)
	if was, ok := m.recall(key); ok && was.sum == sum {
		return was.good, m.usable(key)
	}
	parsed, err := tenant.ParseStored[T]([]byte(storedIn(*text).Text))
	if err != nil {
		return m.refuse(ctx, key, sum, err), false
	}
	m.mu.Lock()
	m.last.Add(key, remembered[T]{good: &parsed, sum: sum})
	mended := m.mendedLocked(key)
	m.mu.Unlock()
	m.logMended(ctx, key, mended)
	return &parsed, true
}

// refuse records that the document of key cannot be used, and returns the last usable one, or nil. It logs a document
// once: sum identifies it.
func (m *memory[T]) refuse(ctx context.Context, key string, sum uint64, err error) *T {
	m.mu.Lock()
	was, ok := m.last.Get(key)
	m.last.Add(key, remembered[T]{good: was.good, sum: sum})
	m.unusable[key] = struct{}{}
	m.mu.Unlock()
	if !ok || was.sum != sum {
		m.log.ErrorContext(ctx, "document in Redis cannot be used; replace or delete it",
			"key", key, "err", err, "last_good", was.good != nil)
	}
	return was.good
}

// forget drops a key that is absent in Redis.
func (m *memory[T]) forget(ctx context.Context, key string) {
	m.mu.Lock()
	mended := m.mendedLocked(key)
	m.last.Remove(key)
	m.mu.Unlock()
	m.logMended(ctx, key, mended)
}

// keep drops the keys for which present is false: they are absent in Redis.
func (m *memory[T]) keep(ctx context.Context, present func(key string) bool) {
	m.mu.Lock()
	keys := m.last.Keys()
	m.mu.Unlock()
	for _, key := range keys {
		if !present(key) {
			m.forget(ctx, key)
		}
	}
}

// recall returns the entry of key.
func (m *memory[T]) recall(key string) (remembered[T], bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.Get(key)
}

func (m *memory[T]) usable(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, bad := m.unusable[key]
	return !bad
}

// mendedLocked records that the document of key can be used, and reports whether it could not until now. The caller
// must hold m.mu.
func (m *memory[T]) mendedLocked(key string) bool {
	_, bad := m.unusable[key]
	delete(m.unusable, key)
	return bad
}

func (m *memory[T]) logMended(ctx context.Context, key string, mended bool) {
	if mended {
		m.log.InfoContext(ctx, "document in Redis can be used again, or is gone", "key", key)
	}
}

// unusableKeys returns the number of documents that cannot be used, and the keys of up to limit of them, in no order.
func (m *memory[T]) unusableKeys(limit int) (count int, keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.unusable {
		if len(keys) == limit {
			break
		}
		keys = append(keys, key)
	}
	return len(m.unusable), keys
}
