package lanes

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Poll learns which lanes other processes have opened and closed, and lets communities leave lanes that are empty. Call
// it once a second, and once before messages are taken in: then a process that starts knows the lanes that are open. What
// does not answer changes nothing.
func (r *Registry) Poll(ctx context.Context, now time.Time) {
	before := r.begin()
	markers, away := r.markers.all(ctx)
	r.parts.begin()
	found, err := r.look(ctx)
	known := err == nil || missing(err)
	if known {
		r.metrics.see(&found)
		r.seeParts(ctx, &found, now)
	} else {
		r.log.DebugContext(ctx, "look at the lanes", "err", err)
	}
	open := markers
	if open == nil {
		open = map[Key]marker{}
	}
	r.addWaiting(ctx, open, found.waiting)
	r.add(open, now)
	r.ensureAll(ctx)
	if known {
		r.close(ctx, r.closable(before, found.waiting, markers, away == nil, now), markers)
	}
	r.metrics.lanes.Set(float64(r.count()))
}

// seeParts brings the parts of OVERFLOW up to date that communities have.
func (r *Registry) seeParts(ctx context.Context, found *overflow, now time.Time) {
	for community, full := range r.parts.see(found, now) {
		if full {
			r.log.WarnContext(ctx, "OVERFLOW has no more room for a community: its further messages are refused, or wait in RETRY",
				"community_id", community)
		} else {
			r.log.InfoContext(ctx, "OVERFLOW has room for the community again", "community_id", community)
		}
	}
	r.metrics.full.Set(float64(r.parts.full()))
}

// addWaiting adds the communities of which OVERFLOW holds messages, but which have no marker, and opens their markers
// again.
func (r *Registry) addWaiting(ctx context.Context, open map[Key]marker, waiting map[Key]waiting) {
	for _, key := range slices.SortedFunc(maps.Keys(waiting), byKey) {
		if _, marked := open[key]; marked {
			continue
		}
		lane, direct := waiting[key].lane, (*bool)(nil)
		if l, number, is := r.known(key); l != nil {
			lane, direct = number, &is
		}
		m, err := r.marker(ctx, key, lane, direct)
		if err != nil {
			r.log.DebugContext(ctx, "open a lane that holds messages", "community_id", key.Community, "err", err)
			continue
		}
		open[key] = m
	}
}

// ensureAll makes the consumers of all lanes that communities are in.
func (r *Registry) ensureAll(ctx context.Context) {
	var numbers []int
	r.Hold()
	for _, l := range r.lanes {
		numbers = append(numbers, l.number)
	}
	r.Release()
	slices.Sort(numbers)
	for _, lane := range slices.Compact(numbers) {
		if err := r.ensure(ctx, lane); err != nil {
			r.log.DebugContext(ctx, "make the consumer of a lane", "lane", lane, "err", err)
		}
	}
}
