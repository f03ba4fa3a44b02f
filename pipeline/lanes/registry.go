package lanes

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
)

// Options configures a [Registry]. All fields but MinStay and Registerer are required.
type Options struct {
	JetStream jetstream.JetStream
	Redis     redis.UniversalClient
	Health    *redishealth.Health // of Redis
	// Consumer makes the consumer of a lane, and OVERFLOW if it is missing.
	Consumer func(ctx context.Context, lane int) error
	// Busy reports whether messages of a community that wait in this process keep it in its lane.
	Busy func(Key) bool
	// Opened is called with each lane that this process learns of, or opens. No message passes meanwhile: what it hands
	// over comes before all that follow. It must not block, and must not call the registry.
	Opened func(*Lane)
	// Decided is called when a lane is not closing any more, with whether it was left: what has been kept back of the
	// community meanwhile goes into the lane, or no longer. The same holds as for Opened.
	Decided func(lane *Lane, left bool)
	// MinStay is how long a community stays in a lane at least. Defaults to 10 s.
	MinStay    time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Registry knows which communities are in a lane; see the package comment.
type Registry struct {
	// Set by New, read-only.
	o       Options
	markers markers
	log     *slog.Logger
	metrics *metrics

	// Owned by the goroutine that calls Open and Poll.
	consumers []int // the numbers of the lanes that have a consumer, as far as this process knows
	full      bool  // there are too many markers, which has been logged

	mu    sync.RWMutex  // held for reading by Hold; protects the field below, and what Lane says of it
	lanes map[Key]*Lane // of the communities that are in one
}

// New makes a Registry. It starts nothing.
func New(o Options) *Registry {
	o.MinStay = cmp.Or(o.MinStay, 10*time.Second)
	return &Registry{
		o: o, markers: markers{o.Redis, o.Health}, log: o.Logger.With("component", "lanes"),
		metrics: newMetrics(o.Registerer), lanes: map[Key]*Lane{},
	}
}

// Hold keeps lanes from being opened and closed until Release.
func (r *Registry) Hold() { r.mu.RLock() }

// Release ends Hold.
func (r *Registry) Release() { r.mu.RUnlock() }

// Any reports whether any community is in a lane. The caller holds the registry.
func (r *Registry) Any() bool { return len(r.lanes) > 0 }

// Find returns the lane that the community is in, or nil. The caller holds the registry.
func (r *Registry) Find(key Key) *Lane { return r.lanes[key] }

// Consumers are the numbers of the lanes whose consumers are to be read.
func (r *Registry) Consumers() []int { return r.consumers }

// Open opens a lane for a community that is over its due, or finds the one that other processes know. direct says that
// the community is unlimited. The error says why the community is in no lane.
func (r *Registry) Open(ctx context.Context, key Key, direct Direct) error {
	if r.find(key) != nil {
		return nil
	}
	m, err := r.marker(ctx, key, anyLane, direct)
	if err == nil {
		if err = r.ensure(ctx, m.Lane); err != nil && m.Epoch != "" {
			_ = r.markers.close(context.WithoutCancel(ctx), key, m.Epoch) // else Poll closes it when it is found empty
		}
	}
	if err != nil {
		if full := errors.Is(err, errTooMany); !full || !r.full {
			r.log.WarnContext(ctx, "a community that is over its due gets no lane: others may wait behind it",
				"kind", key.Kind.String(), "community_id", key.Community, "err", err)
			r.full = full
		}
		return err
	}
	r.full = false
	r.add(map[Key]marker{key: m}, time.Now())
	r.log.InfoContext(ctx, "a community is over its due: its messages wait in a lane",
		"kind", key.Kind.String(), "community_id", key.Community, "lane", m.Lane)
	return nil
}

// marker opens the marker of a key. While Redis is away it makes one up, of a lane that communities share, so that
// processes that do so take the same.
func (r *Registry) marker(ctx context.Context, key Key, lane int, direct Direct) (marker, error) {
	m, err := r.markers.open(ctx, key, lane, direct)
	if !errors.Is(err, redishealth.ErrAway) {
		return m, err
	}
	if r.count() >= maxMarkers {
		return marker{}, errTooMany
	}
	if lane == anyLane {
		lane = key.shared()
	}
	return marker{Lane: lane, Direct: direct == Yes}, nil
}

// ensure makes the consumer of a lane, unless it is known to exist.
func (r *Registry) ensure(ctx context.Context, lane int) error {
	if slices.Contains(r.consumers, lane) {
		return nil
	}
	if err := r.o.Consumer(ctx, lane); err != nil {
		return err
	}
	r.consumers = append(r.consumers, lane)
	return nil
}

// SetDirect says that a community has become unlimited, or is not any more. An error is ctx's or Redis's.
func (r *Registry) SetDirect(ctx context.Context, key Key, direct Direct) error {
	l := r.find(key)
	if l == nil || l.Direct() == direct { // written by this goroutine only
		return nil
	}
	m, err := r.marker(ctx, key, l.number, direct)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l.set(m)
	return nil
}

// find is Find for the goroutine that alone changes the map.
func (r *Registry) find(key Key) *Lane {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lanes[key]
}

func (r *Registry) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.lanes)
}

// add puts communities into lanes, or changes the lanes that they are in.
func (r *Registry) add(open map[Key]marker, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, m := range open {
		if l := r.lanes[key]; l != nil {
			l.set(m)
			continue
		}
		l := &Lane{Key: key, since: now}
		l.set(m)
		r.lanes[key] = l
		r.o.Opened(l)
	}
}

// all returns the lanes that communities are in.
func (r *Registry) all() []*Lane {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.lanes))
}

// byKey orders keys, so that what is done to many is done in one order.
func byKey(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Community, b.Community))
}
