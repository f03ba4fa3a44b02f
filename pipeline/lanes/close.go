package lanes

import (
	"context"
	"time"
)

const (
	// closeTime is how long messages of a community are kept back, at most, until its lane is found to be empty. They are
	// in no queue meanwhile, and nobody tells JetStream that they are in progress: it must stay far below an ack wait.
	closeTime = 250 * time.Millisecond
	// closePause is the time between two looks meanwhile.
	closePause = 5 * time.Millisecond
)

// closable returns those of the lanes that can be closed once they are empty, and those that other processes have
// closed. Those need not be due: what this process puts into them opens them again, for all. answered says whether Redis
// has told the markers.
func (r *Registry) closable(all []*Lane, waiting map[Key]waiting, markers map[Key]marker, answered bool, now time.Time) []*Lane {
	var closable []*Lane
	for _, l := range all {
		messages := waiting[l.Key].messages
		_, marked := markers[l.Key]
		closed := answered && !marked && messages == 0
		if closed || l.tries.due(now) && mayLeave(messages, r.o.Busy(l.Key), now.Sub(l.since), r.o.MinStay) {
			l.tries.failed(now) // until it is left
			closable = append(closable, l)
		}
	}
	return closable
}

// close takes communities out of lanes that are found to be empty. Until then, for closeTime at most, nothing enters
// them: so a lane becomes empty although messages of its community keep coming, and none of them overtakes those that
// are in the lane. Another process may put a message into the lane meanwhile; then it is read all the same.
func (r *Registry) close(ctx context.Context, lanes []*Lane, markers map[Key]marker) {
	if len(lanes) == 0 {
		return
	}
	r.mu.Lock()
	for _, l := range lanes {
		l.closing = true
	}
	r.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	pause := time.NewTicker(closePause)
	defer pause.Stop()
	var left []*Lane
	for len(lanes) > 0 && limited.Err() == nil {
		var empty []*Lane
		empty, lanes = r.empty(limited, lanes)
		r.decide(empty, true)
		left = append(left, empty...)
		if len(lanes) > 0 {
			select {
			case <-limited.Done():
			case <-pause.C:
			}
		}
	}
	r.decide(lanes, false)
	r.unmark(ctx, left, markers) // last: nobody waits for Redis
}

// empty parts the lanes that are empty from the others.
func (r *Registry) empty(ctx context.Context, lanes []*Lane) (empty, others []*Lane) {
	quiet := map[*Lane]bool{}
	for _, l := range lanes { // before the look, which then sees all that has entered
		quiet[l] = l.onWay.Load() == 0
	}
	found, err := lookAtOverflow(ctx, r.o.JetStream)
	if err != nil && !missing(err) {
		return nil, lanes
	}
	for _, l := range lanes {
		if quiet[l] && found.waiting[l.Key].messages == 0 {
			empty = append(empty, l)
		} else {
			others = append(others, l)
		}
	}
	return empty, others
}

// decide ends the closing of lanes.
func (r *Registry) decide(lanes []*Lane, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range lanes {
		if l.closing = false; left {
			delete(r.lanes, l.Key)
		}
		r.o.Decided(l, left)
	}
}

// unmark tells all processes that communities have left their lanes. A community that is over its due again may find its
// marker before that, here or in another process; then it is in a lane without one, until the next Poll.
func (r *Registry) unmark(ctx context.Context, left []*Lane, markers map[Key]marker) {
	for _, l := range left {
		r.log.InfoContext(ctx, "a community has left its lane, which is empty", "kind", l.Kind.String(), "community_id", l.Community,
			"lane", l.number, "stay", time.Since(l.since).Round(time.Second).String())
		m, marked := markers[l.Key]
		if !marked {
			continue
		}
		if err := r.markers.close(ctx, l.Key, m.Epoch); err != nil { // then the next Poll finds the marker, and closes it
			r.log.DebugContext(ctx, "close a lane", "community_id", l.Community, "err", err)
		}
	}
}
