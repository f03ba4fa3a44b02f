package rest

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxHolds is how many keys a holds remembers. A new one replaces the one that was asked for longest ago.
const maxHolds = 10_000

// holds remembers until when keys are held back.
type holds struct {
	mu    sync.Mutex // protects until
	until *simplelru.LRU[string, time.Time]
}

func newHolds() *holds {
	until, err := simplelru.NewLRU[string, time.Time](maxHolds, nil)
	if err != nil {
		panic(err) // only if maxHolds is not above 0
	}
	return &holds{until: until}
}

// add holds a key back until a time, or longer if it is held back for longer already.
func (h *holds) add(key string, until time.Time) {
	if !until.After(time.Now()) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if present, ok := h.until.Get(key); !ok || present.Before(until) {
		h.until.Add(key, until)
	}
}

// left returns for how long a key is held back still, 0 if it is not.
func (h *holds) left(key string, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, ok := h.until.Get(key)
	switch {
	case !ok:
		return 0
	case !until.After(now):
		h.until.Remove(key)
		return 0
	}
	return until.Sub(now)
}
