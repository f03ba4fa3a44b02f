package pipeline

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
)

const (
	// busyAverage is the time over which the handler time of a community is averaged.
	busyAverage = 10 * time.Second
	// maxBusy bounds the communities whose handler time is known: those that take the most.
	maxBusy = 10_000
	// maxBusyOthers bounds those without metric series among them, between two looks. A community that takes more than a
	// thousandth of all handler time stays, because half of this number would have to take more.
	maxBusyOthers = 2_000
	// leastBusy is the average, in handlers, below which a community is forgotten.
	leastBusy = 1e-4
)

// activity is what the pipeline tells of itself in heartbeats.
type activity struct {
	metrics *metrics
	intake  *intake
	queue   *fairQueue

	mu    sync.Mutex // protects the fields below
	at    time.Time  // of the last look
	total totals     // then
	busy  map[string]*busyCommunity
	taken []handlerTime // used again and again
}

// totals count messages since the process began.
type totals struct{ in, handled, limited, failed, deadLettered uint64 }

// handlerTime is the handler time of a community since the last look.
type handlerTime struct {
	seriesKey
	took time.Duration
}

// busyCommunity is a community that takes handler time.
type busyCommunity struct {
	fleet.Community
	took time.Duration // since the last look
}

func newActivity(m *metrics, in *intake, q *fairQueue) *activity {
	return &activity{metrics: m, intake: in, queue: q, at: time.Now(), busy: make(map[string]*busyCommunity)}
}

// Activity returns what the process does. Rates are those since the call before, so there must be one caller. It costs a
// look at each community that has messages in the process; see BenchmarkActivity.
func (p *Pipeline) Activity() fleet.Activity { return p.activity.look(time.Now()) }

// look returns what the process does at now.
func (a *activity) look(now time.Time) fleet.Activity {
	a.mu.Lock()
	defer a.mu.Unlock()
	var done fleet.Activity
	passed := now.Sub(a.at)
	if passed <= 0 {
		passed = time.Nanosecond
	}
	a.at = now
	total := a.metrics.totals()
	total.in, done.InProcess = a.intake.counts()
	done.Rates = total.since(&a.total, passed)
	a.total = total
	most := a.busiestLocked(passed)
	done.Waiting, done.Running = a.queue.depth()
	done.Top = a.queue.top(most)
	return done
}

// since makes rates of what was counted after before, in the given time.
func (t *totals) since(before *totals, passed time.Duration) fleet.Rates {
	rate := func(now, before uint64) float64 { return math.Round(float64(now-before)/passed.Seconds()*100) / 100 }
	return fleet.Rates{
		In: rate(t.in, before.in), Handled: rate(t.handled, before.handled), Limited: rate(t.limited, before.limited),
		Failed: rate(t.failed, before.failed), DeadLettered: rate(t.deadLettered, before.deadLettered),
	}
}

// busiestLocked brings the averages of handler time up to date, and returns the communities that take the most. The caller
// must hold a.mu.
func (a *activity) busiestLocked(passed time.Duration) []fleet.Community {
	a.taken = a.metrics.tenants.takeBusy(a.taken[:0])
	for _, t := range a.taken {
		b := a.busy[t.community]
		if b == nil {
			b = &busyCommunity{Community: fleet.Community{ID: t.community}}
			a.busy[t.community] = b
		}
		b.Tier = string(t.tier)
		b.took += t.took
	}
	part := 1 - math.Exp(-passed.Seconds()/busyAverage.Seconds())
	most := newHighest(fleet.MaxTop, func(x, y *busyCommunity) int { return cmp.Compare(x.Busy, y.Busy) })
	for id, b := range a.busy {
		b.Busy += part * (b.took.Seconds()/passed.Seconds() - b.Busy)
		b.took = 0
		if b.Busy < leastBusy {
			delete(a.busy, id)
			continue
		}
		most.add(b)
	}
	for len(a.busy) > maxBusy {
		forgetLighter(a.busy, func(b *busyCommunity) float64 { return b.Busy })
	}
	list := make([]fleet.Community, 0, 2*fleet.MaxTop)
	for _, b := range most.kept {
		c := b.Community
		c.Busy = math.Round(c.Busy*10_000) / 10_000
		list = append(list, c)
	}
	return list
}

// top adds to busy the communities of which the most messages wait, and to each what waits and runs of it. Those with the
// most that waits are first.
func (q *fairQueue) top(busy []fleet.Community) []fleet.Community {
	q.mu.Lock()
	defer q.mu.Unlock()
	most := newHighest(fleet.MaxTop, func(x, y *backlog) int { return cmp.Compare(x.waiting, y.waiting) })
	for _, b := range q.communities {
		if b.waiting > 0 {
			most.add(b)
		}
	}
	for i := range busy {
		if b := q.communities[busy[i].ID]; b != nil {
			busy[i].Waiting, busy[i].Running = b.waiting, b.running
		}
	}
	known := len(busy)
	for _, b := range most.kept {
		if !slices.ContainsFunc(busy[:known], func(c fleet.Community) bool { return c.ID == b.community }) {
			busy = append(busy, fleet.Community{
				ID: b.community, Tier: string(b.first.Tenant.Tier), Waiting: b.waiting, Running: b.running,
			})
		}
	}
	slices.SortFunc(busy, func(x, y fleet.Community) int {
		return cmp.Or(cmp.Compare(y.Waiting, x.Waiting), cmp.Compare(y.Busy, x.Busy), cmp.Compare(x.ID, y.ID))
	})
	return busy
}

// forgetLighter deletes half of m, and nothing that is above the median.
func forgetLighter[K comparable, V any, W cmp.Ordered](m map[K]V, weight func(V) W) {
	weights := make([]W, 0, len(m))
	for _, v := range m {
		weights = append(weights, weight(v))
	}
	slices.Sort(weights)
	half := len(m) / 2
	median := weights[half]
	maps.DeleteFunc(m, func(_ K, v V) bool {
		if half == 0 || weight(v) > median {
			return false
		}
		half--
		return true
	})
}

// highest keeps the highest of what is added.
type highest[T any] struct {
	most    int
	compare func(x, y T) int
	kept    []T // in no order
	least   int // index of the lowest, once there are as many as are kept
}

func newHighest[T any](most int, compare func(x, y T) int) *highest[T] {
	return &highest[T]{most: most, compare: compare, kept: make([]T, 0, most)}
}

// add looks at all that are kept only when it keeps x, which is rare if there are many and they come in no order.
func (h *highest[T]) add(x T) {
	switch {
	case len(h.kept) < h.most:
		h.kept = append(h.kept, x)
	case h.compare(x, h.kept[h.least]) > 0:
		h.kept[h.least] = x
	default:
		return
	}
	if len(h.kept) == h.most {
		h.least = 0
		for i := range h.kept {
			if h.compare(h.kept[i], h.kept[h.least]) < 0 {
				h.least = i
			}
		}
	}
}

// endCounts count messages that have ended, and errors, over all communities. The fields are protected by tenantMetrics.mu.
type endCounts struct{ handled, limited, failed uint64 }

// add counts a message as recordLocked does.
func (c *endCounts) add(d *delivery) {
	if d.errorType != errorNone {
		c.failed++
	}
	switch {
	case d.settlement == nak:
	case d.status == contract.StatusOK || d.refused:
		c.handled++
	case d.status == contract.StatusRateLimited:
		c.limited++
	}
}

// totals returns what has been counted so far, without what was taken in.
func (m *metrics) totals() totals {
	m.tenants.mu.Lock()
	defer m.tenants.mu.Unlock()
	c := m.tenants.ended
	return totals{handled: c.handled, limited: c.limited, failed: c.failed, deadLettered: m.deadLettered.Load()}
}

// busyLocked counts the handler time of d for its community. The caller must hold m.mu.
func (m *tenantMetrics) busyLocked(s *tenantSeries, d *delivery) {
	took := d.latency - d.began
	if d.latency == 0 || took <= 0 {
		return
	}
	known := s.busyRound == m.busyRound
	switch {
	case s.community == otherTenant || !known && len(m.busy) == maxBusy:
		m.busyOtherLocked(seriesKey{d.Community, d.Tenant.Tier}, took)
		return
	case !known:
		s.busyRound, s.busyPlace = m.busyRound, len(m.busy)
		m.busy = append(m.busy, handlerTime{seriesKey: s.seriesKey})
	}
	m.busy[s.busyPlace].took += took
}

// busyOtherLocked counts the handler time of a community for which there is no place in m.busy. When there are too many,
// the lighter half is forgotten. The caller must hold m.mu.
func (m *tenantMetrics) busyOtherLocked(key seriesKey, took time.Duration) {
	if _, ok := m.busyOthers[key]; !ok && len(m.busyOthers) == maxBusyOthers {
		forgetLighter(m.busyOthers, func(took time.Duration) time.Duration { return took })
	}
	m.busyOthers[key] += took
}

// takeBusy appends to list the handler times since the last call. A community that got or lost its series meanwhile can be
// in it twice.
func (m *tenantMetrics) takeBusy(list []handlerTime) []handlerTime {
	m.mu.Lock()
	defer m.mu.Unlock()
	list = append(list, m.busy...)
	for key, took := range m.busyOthers {
		list = append(list, handlerTime{key, took})
	}
	clear(m.busyOthers)
	clear(m.busy) // their names must not be kept in memory
	m.busy = m.busy[:0]
	m.busyRound++
	return list
}

// counts returns how many messages were taken in so far, and how many of them have not ended.
func (in *intake) counts() (taken uint64, held int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.taken, in.messages
}
