package lanes

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// doorWait is how long a publisher is kept waiting, at most, while its community changes over to its lane.
	doorWait = 500 * time.Millisecond
	// doorPause is the time between two looks at what is still on its way meanwhile.
	doorPause = 10 * time.Millisecond
)

// Door lets a publisher put messages straight into lanes: those of unlimited communities, whose messages need no
// admission before. It keeps their order, as far as this process has published them: a community changes over to its
// lane when its stream holds none of its messages any more, and none is on its way there. Until then, for doorWait at
// most, its publishers are kept waiting. It is safe for concurrent use.
type Door struct {
	registry *Registry
	js       jetstream.JetStream
	wait     time.Duration // doorWait; tests lengthen it

	mu          sync.Mutex // protects the field below, and what it holds
	communities map[Key]*doorway
}

// doorway is what a Door knows of a community that has messages on their way, or is in a lane.
type doorway struct {
	toStream int           // messages on their way into the stream
	lane     *Lane         // the lane that the community has changed over to; nil: its messages go into the stream
	changing chan struct{} // closed when the change-over is decided; nil while there is none
	tried    *Lane         // the lane to which a change-over did not come to its end; nil: there is none
	tries    backoff       // of such change-overs
}

// NewDoor returns a Door to the lanes that the registry knows. It starts nothing.
func NewDoor(r *Registry, js jetstream.JetStream) *Door {
	return &Door{registry: r, js: js, wait: doorWait, communities: map[Key]*doorway{}}
}

// Passage is the right to publish one message. Its End must be called.
type Passage struct {
	// Subject is that of a lane; "": the message goes into its stream.
	Subject string

	door  *Door
	key   Key
	lane  *Lane // that the message goes into
	in    *Lane // that the community is in
	bytes int   // in the lane
}

// Enter says where the next message of a community goes, which has so many bytes of subject, headers and body. After it is
// stored, or cannot be any more, the caller calls [Passage.End]. Enter may wait; an error is ctx's, or [ErrFull].
func (d *Door) Enter(ctx context.Context, key Key, bytes int) (Passage, error) {
	for {
		p, changing, begin := d.try(key, time.Now())
		switch {
		case changing == nil:
			return p.take(bytes)
		case begin:
			d.change(ctx, key, changing)
		default:
			select {
			case <-changing:
			case <-ctx.Done():
			}
		}
		if err := ctx.Err(); err != nil {
			return p, err
		}
	}
}

// try returns a passage, or the change-over to wait for, which the caller is to make if begin is true.
func (d *Door) try(key Key, now time.Time) (p Passage, changing chan struct{}, begin bool) {
	d.registry.Hold()
	defer d.registry.Release()
	lane := d.registry.Find(key)
	in := lane
	if lane != nil && (lane.Closing() || !lane.Direct()) {
		lane = nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.communities[key]
	if w == nil {
		w = &doorway{}
		d.communities[key] = w
	}
	if w.lane != lane {
		w.lane = nil
	}
	w.forget(in)
	switch {
	case w.changing != nil:
		return p, w.changing, false
	case lane != nil && w.lane == lane:
		lane.Enter(1)
		return Passage{Subject: lane.Subject(), door: d, key: key, lane: lane, in: in}, nil, false
	case lane != nil && w.tries.due(now):
		w.changing = make(chan struct{})
		return p, w.changing, true
	default:
		w.toStream++
		return Passage{door: d, key: key, in: in}, nil, false
	}
}

// change changes a community over to its lane, once nothing that came before is on its way. It gives up after doorWait.
func (d *Door) change(ctx context.Context, key Key, changing chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	pause := time.NewTicker(doorPause)
	defer pause.Stop()
	empty := false
	for ctx.Err() == nil {
		if empty = d.sent(key) == 0 && d.streamIsEmpty(ctx, key); empty {
			break
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
	d.registry.Hold()
	defer d.registry.Release()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.communities[key]
	if lane := d.registry.Find(key); empty && lane != nil && !lane.Closing() {
		w.lane, w.tried, w.tries = lane, nil, backoff{}
	} else {
		w.tried = lane
		w.tries.failed(time.Now())
	}
	w.changing = nil
	close(changing)
}

// sent is how many messages are on their way into the stream.
func (d *Door) sent(key Key) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.communities[key].toStream
}

// streamIsEmpty reports whether the stream holds no message of the community. A stream that keeps what was handled is
// never known to be.
func (d *Door) streamIsEmpty(ctx context.Context, key Key) bool {
	route := key.Kind.Route()
	stream, err := d.js.Stream(ctx, route.Stream)
	if err != nil || stream.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy {
		return false
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(route.Subject+".*."+key.Community))
	return err == nil && len(info.State.Subjects) == 0
}

// take takes room in the lane, if the passage leads there. A message that would have to be moved into a lane without room
// is refused as well, before it is stored.
func (p Passage) take(bytes int) (Passage, error) {
	switch {
	case p.in == nil:
		return p, nil
	case p.lane == nil:
		if !p.in.Room(bytes) {
			p.End()
			return p, ErrFull
		}
		return p, nil
	case !p.lane.Take(bytes):
		p.lane.Left(1)
		return p, ErrFull
	default:
		p.bytes = bytes
		return p, nil
	}
}

// End says that the message of the passage is stored, or is not going to be.
func (p Passage) End() {
	if p.lane != nil {
		p.lane.Ended(p.bytes, true) // or not, which the next look at OVERFLOW shows
		p.lane.Left(1)
		return
	}
	p.door.mu.Lock()
	defer p.door.mu.Unlock()
	w := p.door.communities[p.key]
	if w.toStream--; w.idle() {
		delete(p.door.communities, p.key)
	}
}

// forget forgets tries to change over to another lane than the one that the community is in.
func (w *doorway) forget(in *Lane) {
	if w.tried != in {
		w.tried, w.tries = nil, backoff{}
	}
}

// idle reports whether nothing has to be known of a community.
func (w *doorway) idle() bool {
	return w.toStream == 0 && w.lane == nil && w.changing == nil && w.tried == nil
}

// Sweep forgets communities that have left their lanes. Call it now and then.
func (d *Door) Sweep() {
	d.registry.Hold()
	defer d.registry.Release()
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, w := range d.communities {
		in := d.registry.Find(key)
		if w.lane != in {
			w.lane = nil
		}
		if w.forget(in); w.idle() {
			delete(d.communities, key)
		}
	}
}
