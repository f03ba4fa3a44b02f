package lanes

import (
	"context"
	"time"
)

const (
	// closeTime is how long messages of a community are kept back, at most, until its lane is found to be empty.
	closeTime = 250 * time.Millisecond
	// closePause is the time between two looks meanwhile.
	closePause = 5 * time.Millisecond
	// closeAgain is the time after which a process tries again to close a lane that was not empty.
	closeAgain = 2 * time.Second
)

// closable returns those of the lanes that can be closed once they are empty, and those that other processes have closed.
// answered says whether Redis has told the markers.
func (r *Registry) closable(all []*Lane, waiting map[Key]waiting, markers map[Key]marker, answered bool, now time.Time) []*Lane {
	var closable []*Lane
	for _, l := range all {
		messages := waiting[l.Key].messages
		_, marked := markers[l.Key]
		closed := answered && !marked && messages == 0
		if now.Sub(l.tried) >= closeAgain && (closed || mayLeave(messages, r.o.Busy(l.Key), now.Sub(l.since), r.o.MinStay)) {
			l.tried = now
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
	pause := time.NewTicker(closePause)
	defer pause.Stop()
	for end := time.Now().Add(closeTime); len(lanes) > 0 && ctx.Err() == nil && time.Now().Before(end); {
		var empty []*Lane
		if empty, lanes = r.empty(ctx, lanes); len(empty) > 0 {
			r.left(ctx, empty, markers)
		}
		if len(lanes) > 0 {
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
		}
	}
	r.decide(lanes, false)
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

// left takes communities out of their lanes, here and then for all processes.
func (r *Registry) left(ctx context.Context, lanes []*Lane, markers map[Key]marker) {
	r.decide(lanes, true)
	for _, l := range lanes {
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
