package pipeline

import (
	containerheap "container/heap"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arrakis/tenant"
)

// simulation is a fair queue on a virtual clock, with floods that never run dry. Handlers take exactly their time.
type simulation struct {
	testing.TB
	q      *fairQueue
	now    time.Duration
	ends   endings // of the handlers that run
	floods map[string]*flood
}

// ending is when a handler ends.
type ending struct {
	at time.Duration
	d  *delivery
}

// endings are a heap, the first ending in front.
type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

// flood is a community with a backlog without end.
type flood struct {
	weight  int
	handler time.Duration
	// What the simulation has seen of it since mark.
	used    time.Duration // handler time
	began   int           // handlers
	running int
	most    int // handlers at once
}

func simulate(tb testing.TB, workers, perTenant int) *simulation {
	tb.Helper()
	return &simulation{TB: tb, q: newFairQueue(workers, perTenant), floods: map[string]*flood{}}
}

func (s *simulation) flood(community string, weight int, handler time.Duration) *flood {
	f := &flood{weight: weight, handler: handler}
	s.floods[community] = f
	s.refill(community)
	return f
}

func (s *simulation) refill(community string) {
	f := s.floods[community]
	batch := queuedMany(community, s.q.workers+1)
	for _, d := range batch {
		d.Tenant = &tenant.Tenant{ID: community, Weight: f.weight}
	}
	s.q.put(batch)
}

// run starts what may start and lets time pass, until the given time has passed.
func (s *simulation) run(span time.Duration) {
	end := s.now + span
	for d := s.q.tryNext(); d != nil; d = s.q.tryNext() {
		s.begin(d)
	}
	for len(s.ends) > 0 && s.ends[0].at <= end {
		e := containerheap.Pop(&s.ends).(ending)
		s.now = e.at
		s.end(e.d)
		for d := s.q.tryNext(); d != nil; d = s.q.tryNext() {
			s.begin(d)
		}
	}
	s.now = end
}

// end ends a handler.
func (s *simulation) end(d *delivery) {
	f := s.floods[d.Community]
	f.running--
	s.q.done(d, f.handler)
}

func (s *simulation) begin(d *delivery) {
	f := s.floods[d.Community]
	containerheap.Push(&s.ends, ending{s.now + f.handler, d})
	f.used += f.handler
	f.began++
	f.running++
	f.most = max(f.most, f.running)
	if b := s.q.communities[d.Community]; b.first == b.last { // before it is empty
		s.refill(d.Community)
	}
}

// mark forgets what was seen.
func (s *simulation) mark() {
	for _, f := range s.floods {
		f.used, f.began, f.most = 0, 0, f.running
	}
}

// near fails the test if got is not within a part of want.
func near(tb testing.TB, what string, got, want, part float64) {
	tb.Helper()
	if math.Abs(got-want) > part*want {
		tb.Errorf("%s is %.3f, want %.3f within %.0f %%", what, got, want, part*100)
	}
}

// TestSharesByWeight: three floods of different tiers get handler time as their weights, however long their handlers
// take, whether the dynamic threshold or the turns decide.
func TestSharesByWeight(t *testing.T) {
	for name, tt := range map[string]struct {
		workers, perTenant int
		handlers           [3]time.Duration // free, pro, enterprise
	}{
		"long":                                   {256, 0, [3]time.Duration{50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond}},
		"short":                                  {256, 0, [3]time.Duration{50 * time.Microsecond, 50 * time.Microsecond, 50 * time.Microsecond}},
		"the free one is slow":                   {256, 0, [3]time.Duration{200 * time.Millisecond, 7 * time.Millisecond, time.Millisecond}},
		"the enterprise one is slow":             {256, 0, [3]time.Duration{300 * time.Microsecond, 7 * time.Millisecond, 250 * time.Millisecond}},
		"turns decide":                           {16, 16, [3]time.Duration{20 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond}},
		"turns decide, the free one is slow":     {16, 16, [3]time.Duration{200 * time.Millisecond, 7 * time.Millisecond, time.Millisecond}},
		"turns decide, the enterprise is slow":   {16, 16, [3]time.Duration{100 * time.Microsecond, 3 * time.Millisecond, 50 * time.Millisecond}},
		"one worker at a time, very short":       {1, 0, [3]time.Duration{time.Microsecond, 3 * time.Microsecond, 2 * time.Microsecond}},
		"one worker at a time, of all lengths":   {1, 0, [3]time.Duration{2 * time.Microsecond, 10 * time.Millisecond, 200 * time.Microsecond}},
		"more than the threshold can tell apart": {8, 0, [3]time.Duration{10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, tt.workers, tt.perTenant)
			var floods [3]*flood
			longest := time.Duration(0)
			for i, weight := range []int{1, 2, 4} {
				floods[i] = s.flood(fmt.Sprint("c", i), weight, tt.handlers[i])
				longest = max(longest, tt.handlers[i])
			}
			handlers := 8 // of the longest, one after the other; of many workers, few are enough
			if tt.workers > 100 {
				handlers = 2
			}
			span := max(time.Duration(handlers)*longest, 10*time.Millisecond)
			s.run(span)
			s.mark()
			s.run(3 * span)
			sum := floods[0].used + floods[1].used + floods[2].used
			for i, f := range floods {
				near(t, fmt.Sprintf("the share of weight %d", f.weight), float64(f.used)/float64(sum), []float64{1. / 7, 2. / 7, 4. / 7}[i], 0.1)
			}
		})
	}
}

// TestDynamicThreshold: how many of 240 workers communities get that could fill them all, and what is free.
func TestDynamicThreshold(t *testing.T) {
	for name, tt := range map[string]struct {
		weights []int
		want    []int // of 240
	}{
		"one":                  {[]int{1}, []int{120}},
		"two":                  {[]int{1, 1}, []int{80, 80}},
		"three tiers":          {[]int{1, 2, 4}, []int{30, 60, 120}},
		"one enterprise":       {[]int{4}, []int{192}},
		"the heaviest of all":  {[]int{100}, []int{214}}, // 8/9
		"the heaviest and one": {[]int{100, 1}, []int{192, 24}},
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, 240, 0)
			for i, weight := range tt.weights {
				s.flood(fmt.Sprint("c", i), weight, 50*time.Millisecond)
				s.run(time.Second) // one after the other: the earlier ones give way
			}
			s.run(time.Second)
			for i := range tt.weights {
				if got := s.floods[fmt.Sprint("c", i)].running; got < tt.want[i]-2 || got > tt.want[i]+2 {
					t.Errorf("%d run of community %d, want %d", got, i, tt.want[i])
				}
			}
		})
	}
}

// TestNewcomerNeverWaitsWhileAWorkerIsFree: beside floods there is a free worker, and the newcomer gets it at once.
// Where there are more floods than workers, it waits for few handlers: its turn is in the next round,
// and the turns of the others, whose handlers take many rounds, are later.
func TestNewcomerNeverWaitsWhileAWorkerIsFree(t *testing.T) {
	for _, floods := range []int{1, 2, 10, 50, 1_000} {
		s := simulate(t, 256, 0)
		for i := range floods {
			s.flood(fmt.Sprint("c", i), 1+i%3, time.Duration(1+i%50)*time.Millisecond)
		}
		s.run(time.Second)
		s.q.put([]*delivery{queued("new", 0)})
		if free := s.q.workers - s.q.running; free > 0 {
			if d := s.q.tryNext(); d == nil || d.Community != "new" {
				t.Errorf("%d floods: the newcomer waits although %d workers are free", floods, free)
			}
			continue
		}
		if floods < 100 {
			t.Errorf("%d floods have all workers", floods)
		}
		ended := 0
		for d := (*delivery)(nil); d == nil || d.Community != "new"; d = s.q.tryNext() {
			if d != nil {
				s.begin(d)
			}
			s.end(containerheap.Pop(&s.ends).(ending).d)
			ended++
		}
		if ended > 60 {
			t.Errorf("%d floods: the newcomer has waited for the end of %d handlers", floods, ended)
		}
	}
}

// TestTenantConcurrency: so many run at once of each community, whatever else is free; with 1 in strict order.
func TestTenantConcurrency(t *testing.T) {
	s := simulate(t, 64, 3)
	hog, other := s.flood("hog", 4, time.Millisecond), s.flood("other", 1, 20*time.Millisecond)
	s.run(time.Second)
	if hog.most != 3 || other.most != 3 {
		t.Errorf("%d and %d run at once, want 3 of each", hog.most, other.most)
	}

	q := newFairQueue(64, 1)
	q.put(append(queuedMany("a", 3), queuedMany("b", 3)...))
	for i := range 3 {
		got := q.startAll()
		if a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i); got != a+" "+b && got != b+" "+a {
			t.Errorf("%s start, want %s and %s", got, a, b)
		}
		for _, d := range q.stillRunning() {
			q.done(d, time.Millisecond)
		}
	}
	q.empty(t)
}

// TestIdleKeepsNothing: who was idle gets no more than its share afterwards, and owes nothing for what it had before.
func TestIdleKeepsNothing(t *testing.T) {
	s := simulate(t, 1, 1)
	busy := s.flood("busy", 1, time.Millisecond)
	s.run(time.Second)
	rested := s.flood("rested", 1, time.Millisecond)
	s.run(10 * time.Millisecond)
	if rested.began < 4 || rested.began > 7 {
		t.Errorf("the one that was idle had %d of 10 ms", rested.began)
	}
	s.mark()
	s.run(time.Second)
	near(t, "the share of the one that was idle", float64(rested.used)/float64(busy.used), 1, 0.05)
}

// TestDebtIsBounded: a handler that took an hour, of which nobody knew, does not keep its community from its turn for an
// hour.
func TestDebtIsBounded(t *testing.T) {
	s := simulate(t, 2, 1)
	s.flood("slow", 1, time.Hour)
	s.run(time.Hour - time.Second)
	other := s.flood("other", 1, 10*time.Millisecond)
	s.flood("third", 1, 10*time.Millisecond)
	s.run(2 * time.Second)
	if s.floods["slow"].began != 1 {
		t.Fatalf("it has run %d times", s.floods["slow"].began)
	}
	other.used = 0
	for s.floods["slow"].running == 0 && other.used < time.Hour {
		s.run(10 * time.Millisecond)
	}
	if other.used > maxDebt+time.Second {
		t.Errorf("the slow one had its next turn when the others had had %v each, want at most %v", other.used, maxDebt)
	}
}

// TestNewcomersDoNotStarveABacklog: whoever has a backlog has its turns beside communities that come one after the
// other without end, each with one message, so that nine of them always wait.
func TestNewcomersDoNotStarveABacklog(t *testing.T) {
	q := newFairQueue(1, 0)
	q.put(queuedMany("backlog", 1_000))
	come := 0
	newcomer := func() {
		come++
		q.put([]*delivery{queued(fmt.Sprint("new", come), 0)})
	}
	for range 9 {
		newcomer()
	}
	served := 0
	for range 1_000 {
		d := q.tryNext()
		if d.Community == "backlog" {
			served++
		} else {
			newcomer()
		}
		q.done(d, quantum)
	}
	near(t, "the turns of the backlog among 1,000", float64(served), 100, 0.1)
}

// TestCappedAreNotPolled: what a start and an end cost does not grow with the number of communities at their cap.
func TestCappedAreNotPolled(t *testing.T) {
	s := simulate(t, 1_000, 0)
	for i := range 200 {
		s.flood(fmt.Sprint("c", i), 1, time.Duration(10+i%10)*time.Millisecond)
	}
	s.run(time.Second)
	if len(s.q.capped) < 150 {
		t.Fatalf("%d communities are capped", len(s.q.capped))
	}
	moves := 0 // of communities out of turns, by pickLocked
	running := s.q.stillRunning()
	for _, d := range running {
		s.q.done(d, s.floods[d.Community].handler)
		before := len(s.q.capped)
		s.q.mu.Lock()
		s.q.pickLocked()
		s.q.mu.Unlock()
		moves += max(0, len(s.q.capped)-before)
		if d := s.q.tryNext(); d == nil {
			t.Fatal("nobody has the free place")
		}
	}
	if moves > len(running) {
		t.Errorf("%d communities were looked at in vain for %d starts", moves, len(running))
	}
}

// TestFairQueueProperties: whatever is put, started and ended, the order of each community is kept, nothing is lost, no
// cap is passed, no worker is idle while somebody may start, and the queue's books are right.
func TestFairQueueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 20).Draw(t, "workers")
		perTenant := rapid.IntRange(0, 4).Draw(t, "per tenant")
		m := &model{
			q: newFairQueue(workers, perTenant), put: map[string]int{}, started: map[string]int{}, running: map[string]int{},
			weights: map[string]int{"a": 1, "b": 1, "c": 2, "d": 4, "e": 100},
		}
		names := []string{"a", "b", "c", "d", "e"}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				c := rapid.SampledFrom(names).Draw(t, "community")
				for range rapid.IntRange(1, 30).Draw(t, "messages") {
					d := queued(c, m.put[c])
					d.Tenant = &tenant.Tenant{ID: c, Weight: m.weights[c]}
					m.q.put([]*delivery{d})
					m.put[c]++
				}
			},
			"start": func(t *rapid.T) { m.start(t) },
			"done": func(t *rapid.T) {
				if len(m.active) > 0 {
					m.done(rapid.IntRange(0, len(m.active)-1).Draw(t, "which"), time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "took")))
				}
			},
			"weight": func(t *rapid.T) {
				m.weights[rapid.SampledFrom(names).Draw(t, "community")] = rapid.IntRange(1, 100).Draw(t, "weight")
			},
			"": m.check,
		})
		for m.q.waiting+m.q.running > 0 {
			for m.start(t) {
			}
			m.done(0, time.Millisecond)
			m.check(t)
		}
		for c, n := range m.put {
			if m.started[c] != n {
				t.Fatalf("%d of %s were put, %d have started", n, c, m.started[c])
			}
		}
	})
}

// model is what the property test knows of a queue.
type model struct {
	q            *fairQueue
	put, started map[string]int
	running      map[string]int
	weights      map[string]int // of what is put next
	active       []*delivery
}

// mayStart is the rule, without the queue's shortcuts.
func (m *model) mayStart(b *backlog) bool {
	free := m.q.workers - len(m.active)
	switch {
	case b.first == nil || free == 0:
		return false
	case m.q.perTenant > 0:
		return m.running[b.community] < m.q.perTenant
	case m.running[b.community] > 0 && free == 1:
		return false
	default:
		return m.running[b.community] < min(b.weight, 8)*free
	}
}

func (m *model) start(t *rapid.T) bool {
	may := map[string]bool{}
	for c, b := range m.q.communities {
		if m.mayStart(b) {
			may[c] = true
		}
	}
	d := m.q.tryNext()
	if d == nil {
		if len(may) > 0 {
			t.Fatalf("%v may start, and none does", may)
		}
		return false
	}
	if !may[d.Community] {
		t.Fatalf("%s starts, which may not", d.Community)
	}
	if want := fmt.Sprintf("%s%d", d.Community, m.started[d.Community]); d.EventID != want {
		t.Fatalf("%s has started, want %s", d.EventID, want)
	}
	m.started[d.Community]++
	m.running[d.Community]++
	m.active = append(m.active, d)
	return true
}

func (m *model) done(i int, took time.Duration) {
	d := m.active[i]
	m.active[i] = m.active[len(m.active)-1]
	m.active = m.active[:len(m.active)-1]
	m.running[d.Community]--
	m.q.done(d, took)
}

func (m *model) check(t *rapid.T) {
	q := m.q
	if len(m.active) != q.running || len(q.stillRunning()) != q.running {
		t.Fatalf("%d run, the queue says %d and lists %d", len(m.active), q.running, len(q.stillRunning()))
	}
	waiting := 0
	for c, n := range m.put {
		left := n - m.started[c]
		waiting += left
		b := q.communities[c]
		if (b != nil) != (left+m.running[c] > 0) {
			t.Fatalf("%s has %d messages, and its backlog is %v", c, left+m.running[c], b)
		}
		if b == nil {
			continue
		}
		if b.running != m.running[c] || (b.in != nil) != (left > 0) || b.held[0].messages != left+m.running[c] {
			t.Fatalf("%s: %d wait and %d run, its backlog is %+v", c, left, m.running[c], b)
		}
		if latest := q.round + 1 + int64(maxDebt/quantum); b.round > latest || b.credit > 100*quantum || b.in != nil && b.credit <= 0 {
			t.Fatalf("%s has its turn in round %d of %d with credit %v", c, b.round, latest, b.credit)
		}
	}
	if waiting != q.waiting || len(q.turns)+len(q.capped) > len(q.communities) {
		t.Fatalf("%d wait, the queue says %d", waiting, q.waiting)
	}
	for _, l := range []line{q.turns, q.capped} {
		for i, b := range l {
			if b.index != i || i > 0 && l.less(i, (i-1)/2) {
				t.Fatalf("the line %v is not in order at %d", l, i)
			}
		}
	}
}

// TestNeverAllWorkersForOne: the last free worker is left to others, however heavy a community is and however few
// workers there are; a worker that is alone works for everybody.
func TestNeverAllWorkersForOne(t *testing.T) {
	for workers := range 30 {
		for _, weight := range []int{1, 2, 4, 8, 100} {
			s := simulate(t, workers+1, 0)
			hog := s.flood("hog", weight, time.Millisecond)
			s.run(10 * time.Millisecond)
			if want := max(workers, 1); hog.most > want || hog.most < (workers+1)/2 {
				t.Errorf("weight %d has %d of %d workers", weight, hog.most, workers+1)
			}
		}
	}
}
