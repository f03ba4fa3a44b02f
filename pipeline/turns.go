package pipeline

import "time"

// This file is the arithmetic of turns: whose message starts next, and how many of one community run at once. The
// order is a deficit round robin (Shreedhar and Varghese, 1995) that is charged with the time of handlers, and the
// number is a dynamic threshold (Choudhury and Hahne, 1998).

const (
	// quantum is the handler time that a round gives a community of weight 1. It is as short as a fast handler takes, so
	// that a community with one message waits for few messages of each other.
	quantum = 50 * time.Microsecond
	// minCharge is charged for a message at least: what it costs a worker besides the handler.
	minCharge = time.Microsecond
	// maxDebt bounds the handler time that a community of weight 1 owes. What it owes beyond that is forgiven.
	maxDebt = time.Minute
	// maxThreshold is the largest weight in the dynamic threshold, so that a ninth of the workers is free of one
	// community, however heavy it is.
	maxThreshold = 8
)

// account is a community's account in the fair queue. Each round gives the community a quantum for each unit of its
// weight; a message that starts is charged at once, by an estimate, and corrected when it is done. While the community
// has credit, it is its turn. One without credit is not asked in each round: its account tells the round in which it
// has credit again.
type account struct {
	weight   int
	running  int           // messages that handlers work on
	credit   time.Duration // what is left for the turn in round; more than 0, and no more than a round gives
	round    int64         // the round of the next turn
	place    uint64        // order in the round
	need     int           // while it is at its cap: the free workers at which it may start another; else 0
	estimate time.Duration // of a handler's time, a moving average
}

// share is what a round gives the community.
func (a *account) share() time.Duration { return time.Duration(a.weight) * quantum }

// enter gives the community a turn in the round after now's, because its first message waits. It keeps no credit of
// earlier turns. It keeps a debt, which is a turn in a later round.
func (a *account) enter(now int64) {
	if a.round <= now {
		a.round, a.credit = now+1, a.share()
	}
}

// charge takes cost from the credit; a cost below 0 gives it back. If none is left, the next turn is in the first round
// in which there is some. It reports whether the turn has changed.
func (a *account) charge(cost time.Duration, now int64) (changed bool) {
	share := a.share()
	a.credit -= cost
	switch {
	case a.credit <= 0:
		rounds := 1 + int64(-a.credit/share)
		a.credit += time.Duration(rounds) * share
		a.round = min(max(a.round, now)+rounds, now+1+int64(maxDebt/share))
		return true
	case a.credit > share && a.round > now:
		rounds := min(int64((a.credit-1)/share), a.round-now)
		a.credit = min(a.credit-time.Duration(rounds)*share, share)
		a.round -= rounds
		return true
	}
	a.credit = min(a.credit, share)
	return false
}

// start charges a message that starts. It returns the charge.
func (a *account) start(now int64) (charged time.Duration, changed bool) {
	a.running++
	return a.estimate, a.charge(a.estimate, now)
}

// done corrects the charge of a message whose handler took the given time.
func (a *account) done(charged, took time.Duration, now int64) (changed bool) {
	a.running--
	average(&a.estimate, took)
	return a.charge(took-charged, now)
}

// average takes a measurement into a moving average.
func average(estimate *time.Duration, took time.Duration) { *estimate += (took - *estimate) / 8 }

// threshold is how many workers must be free for the community to start another message. By the dynamic threshold,
// running must be less than weight times free: alone, a community of weight 1 gets half of the workers; two get a third
// each. The last free worker is for one that runs nothing. A limit of more than 0 replaces that: running must be less
// than limit. For a community that may not start another whatever is free, threshold is more than workers.
func (a *account) threshold(limit, workers int) int {
	switch {
	case limit > 0 && a.running >= limit:
		return workers + 1
	case limit > 0 || a.running == 0:
		return 1
	default:
		return max(2, a.running/min(a.weight, maxThreshold)+1)
	}
}

// alone is how many messages of the community may run at once while no other has any; threshold says when.
func (a *account) alone(limit, workers int) int {
	if limit > 0 {
		return min(limit, workers)
	}
	weight := min(a.weight, maxThreshold)
	return max(1, min((weight*workers+weight)/(weight+1), workers-1)) // rounded up; the last worker is for others
}

// before reports whether a's turn comes before b's.
func (a *account) before(b *account) bool {
	if a.round != b.round {
		return a.round < b.round
	}
	return a.place < b.place
}

// line is a heap of communities: the one that needs the fewest free workers is first, of those that need the same the
// one whose turn comes first.
type line []*backlog

func (l line) less(i, j int) bool {
	if a, b := l[i], l[j]; a.need != b.need {
		return a.need < b.need
	}
	return l[i].before(&l[j].account)
}

// first returns the first community, nil if there is none.
func (l line) first() *backlog {
	if len(l) == 0 {
		return nil
	}
	return l[0]
}

// add adds b, which must be in no line.
func (l *line) add(b *backlog) {
	b.in, b.index = l, len(*l)
	*l = append(*l, b)
	l.up(b.index)
}

// remove removes b, which must be in l. What it needs is forgotten: in its next line it may be below its cap.
func (l *line) remove(b *backlog) {
	i, last := b.index, len(*l)-1
	l.swap(i, last)
	(*l)[last] = nil
	*l = (*l)[:last]
	b.in, b.need = nil, 0
	if i < last {
		l.move(i)
	}
}

// moved puts b, whose turn has changed, to its place.
func (l *line) moved(b *backlog) { l.move(b.index) }

func (l *line) move(i int) {
	if !l.down(i) {
		l.up(i)
	}
}

func (l line) swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

func (l line) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !l.less(i, parent) {
			return
		}
		l.swap(i, parent)
		i = parent
	}
}

// down reports whether the element has moved.
func (l line) down(i int) bool {
	start := i
	for {
		child := 2*i + 1
		if child >= len(l) {
			return i != start
		}
		if right := child + 1; right < len(l) && l.less(right, child) {
			child = right
		}
		if !l.less(child, i) {
			return i != start
		}
		l.swap(i, child)
		i = child
	}
}
