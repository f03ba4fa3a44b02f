package fleet

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// table are the last heartbeats of all workers, at most MaxWorkers. It is safe for concurrent use.
type table struct {
	mu      sync.Mutex // protects the fields below
	workers map[string]heard
	refused time.Time // when a worker was last left out, because there were too many
}

// heard is a heartbeat, and when it was heard by this process's clock.
type heard struct {
	*Heartbeat
	at time.Time
}

func newTable() *table { return &table{workers: make(map[string]heard)} }

// put takes in a heartbeat that is as old as age at now. One that is older than what is known is ignored.
func (t *table) put(h *Heartbeat, age time.Duration, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.workers[h.ID]
	if known && before.Beat >= h.Beat {
		return
	}
	if !known && len(t.workers) >= MaxWorkers && !t.makeRoomLocked(now) {
		t.refused = now
		return
	}
	t.workers[h.ID] = heard{h, now.Add(-age)}
}

// refuse notes that a worker is left out.
func (t *table) refuse(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = now
}

// makeRoomLocked forgets the worker that is gone for the longest. It returns false if all work. The caller must hold t.mu.
func (t *table) makeRoomLocked(now time.Time) bool {
	oldest := ""
	for id, w := range t.workers {
		if w.gone(now) && (oldest == "" || w.at.Before(t.workers[oldest].at)) {
			oldest = id
		}
	}
	delete(t.workers, oldest)
	return oldest != ""
}

func (w *heard) gone(now time.Time) bool { return w.State == Stopped || now.Sub(w.at) >= LostAfter }

// all returns the workers at now, ordered by host and ID, and whether there are more.
func (t *table) all(now time.Time) (workers []Worker, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, w := range t.workers {
		age := max(0, now.Sub(w.at))
		if age >= forgottenAfter {
			delete(t.workers, id)
			continue
		}
		h := w.Heartbeat
		if age >= LostAfter && h.State != Stopped {
			lost := *h
			lost.State = Lost
			h = &lost
		}
		workers = append(workers, Worker{Heartbeat: h, Age: age})
	}
	slices.SortFunc(workers, func(a, b Worker) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) })
	return workers, !t.refused.IsZero() && now.Sub(t.refused) < LostAfter
}
