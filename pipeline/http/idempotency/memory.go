package idempotency

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// memory is what this process knows by itself: the requests that run in it, and the newest answers that it gave. It
// decides about requests that run in this process, and about the others while Redis does not say. It is safe for
// concurrent use.
type memory struct {
	maxBytes int // set by newMemory, read-only

	mu      sync.Mutex // protects the fields below
	running map[string]*Mark
	answers *simplelru.LRU[string, remembered]
	bytes   int // of answers
}

// remembered is an answer in memory.
type remembered struct {
	fingerprint string
	state       string // as in a record
	until       time.Time
}

// remembered's cost beside its text, about.
const overhead = 256

func (r *remembered) bytes() int { return len(r.state) + overhead }

func newMemory(maxBytes int) *memory {
	m := &memory{maxBytes: maxBytes, running: make(map[string]*Mark)}
	m.answers, _ = simplelru.NewLRU(maxBytes/overhead+1, func(_ string, r remembered) { m.bytes -= r.bytes() }) // fails for a size of 0
	return m
}

// begin makes m the request that runs under its key. If there is one already, begin returns that one.
func (m *memory) begin(mark *Mark) (other *Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.running[mark.record]; other != nil {
		return other
	}
	m.running[mark.record] = mark
	return nil
}

// end ends the request of a mark. It reports false if the request has ended before.
func (m *memory) end(mark *Mark) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[mark.record] != mark {
		return false
	}
	delete(m.running, mark.record)
	return true
}

// keep remembers an answer.
func (m *memory) keep(record string, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers.Remove(record)
	m.answers.Add(record, r)
	for m.bytes += r.bytes(); m.bytes > m.maxBytes; {
		m.answers.RemoveOldest()
	}
}

// answer returns what is remembered of a record.
func (m *memory) answer(record string, now time.Time) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.answers.Get(record)
	if ok && now.After(r.until) {
		m.answers.Remove(record)
		return remembered{}, false
	}
	return r, ok
}

// due returns the requests whose mark was written or renewed before t, and notes that they are renewed now.
func (m *memory) due(before, now time.Time) []*Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	var marks []*Mark
	for _, mark := range m.running {
		if mark.renewed.Before(before) {
			mark.renewed = now
			marks = append(marks, mark)
		}
	}
	return marks
}
