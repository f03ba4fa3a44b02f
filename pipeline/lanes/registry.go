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

// againPause is the least time between two tries to open a lane again.
const againPause = time.Second

// Options configures a [Registry]. All fields but MinStay and Registerer are required.
type Options struct {
	JetStream jetstream.JetStream
	Redis     redis.UniversalClient
	Health    *redishealth.Health // of Redis
	// Consumer makes the consumer of a lane, and OVERFLOW if it is missing.
	Consumer func(ctx context.Context, lane int) error
	// Busy reports whether messages of a community that wait in this process keep it in its lane.
	Busy func(Key) bool
	// Opened is called with each lane that this process learns of, or opens, and again with one that Open finds. No message
	// passes meanwhile: what it hands over comes before all that follow. It must not block, and must not call the registry.
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
	parts   *parts

	mu        sync.RWMutex  // held for reading by Hold; protects the fields below, and what Lane says of it
	lanes     map[Key]*Lane // of the communities that are in one
	consumers []int         // the numbers of the lanes that have a consumer, as far as this process knows
	made      []int         // those that this process has made since its last look at OVERFLOW began
}

// New makes a Registry. It starts nothing.
func New(o Options) *Registry {
	o.MinStay = cmp.Or(o.MinStay, 10*time.Second)
	return &Registry{
		o: o, markers: markers{o.Redis, o.Health}, log: o.Logger.With("component", "lanes"),
		metrics: newMetrics(o.Registerer), parts: &parts{communities: map[string]*part{}}, lanes: map[Key]*Lane{},
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
func (r *Registry) Consumers() []int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.consumers)
}

// Open opens a lane for a community that is over its due, or finds the one that other processes know. direct says that
// messages may be published straight into it. The error says why the community is in no lane that is read; see [OneLane].
func (r *Registry) Open(ctx context.Context, key Key, direct bool) error {
	if l, number, _ := r.known(key); l != nil {
		return r.openAgain(ctx, l, number)
	}
	m, err := r.marker(ctx, key, anyLane, &direct)
	if err == nil {
		if err = r.ensure(ctx, m.Lane); err != nil && m.made { // else another process may use the lane
			_ = r.markers.close(context.WithoutCancel(ctx), key, m.Epoch) // else Poll closes it when it is found empty
		}
	}
	if err != nil {
		return err
	}
	r.add(map[Key]marker{key: m}, time.Now())
	r.log.InfoContext(ctx, "a community is over its due: its messages wait in a lane",
		"kind", key.Kind.String(), "community_id", key.Community, "lane", m.Lane)
	return nil
}

// openAgain opens a lane that its community is in, and is over its due all the same: what waits here could not be moved,
// because OVERFLOW or the lane's consumer was missing. It does so once in againPause: while nobody takes messages of the
// lane, although it can be made, each try publishes all that waits for nothing.
func (r *Registry) openAgain(ctx context.Context, l *Lane, number int) error {
	if !r.againDue(l, time.Now()) {
		return nil
	}
	if err := r.ensure(ctx, number); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lanes[l.Key] == l && !l.closing {
		r.o.Opened(l)
	}
	return nil
}

// againDue reports whether a lane may be opened again now, and notes that it is.
func (r *Registry) againDue(l *Lane, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(l.again) < againPause {
		return false
	}
	l.again = now
	return true
}

// Lost says that nobody takes messages of the lane: OVERFLOW does not exist, or has no leader. JetStream is asked for the
// lane's consumer before it is opened again.
func (r *Registry) Lost(l *Lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := func(number int) bool { return number == l.number }
	r.consumers, r.made = slices.DeleteFunc(r.consumers, lost), slices.DeleteFunc(r.made, lost)
}

// Reads reports whether the community is in a lane that has a consumer.
func (r *Registry) Reads(key Key) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	l := r.lanes[key]
	return l != nil && slices.Contains(r.consumers, l.number)
}

// OneLane reports whether an error of Open is about the lane of that community only: another community may still get one.
// Any other error, such as that of a server that does not answer, is what all would get now.
func OneLane(err error) bool {
	var api *jetstream.APIError // of making the lane's consumer
	return errors.Is(err, errTooMany) || errors.Is(err, errUnreadable) || !missing(err) && errors.As(err, &api)
}

// marker opens the marker of a key. While Redis is away it makes one up, of a lane that communities share, so that
// processes that do so take the same.
func (r *Registry) marker(ctx context.Context, key Key, lane int, direct *bool) (marker, error) {
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
	return marker{Lane: lane, Direct: direct != nil && *direct}, nil
}

// ensure makes the consumer of a lane, unless it is known to exist.
func (r *Registry) ensure(ctx context.Context, lane int) error {
	if slices.Contains(r.Consumers(), lane) {
		return nil
	}
	if err := r.o.Consumer(ctx, lane); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consumers, r.made = append(r.consumers, lane), append(r.made, lane)
	return nil
}

// look looks at OVERFLOW, and learns which lanes have a consumer.
func (r *Registry) look(ctx context.Context) (overflow, error) {
	r.mu.Lock()
	r.made = nil
	r.mu.Unlock()
	found, err := lookAtOverflow(ctx, r.o.JetStream)
	if err == nil || missing(err) { // then nothing is in it
		r.mu.Lock()
		defer r.mu.Unlock()
		r.consumers = append(found.consumers, r.made...)
	}
	return found, err
}

// SetDirect says whether messages may be published straight into the community's lane. An error is ctx's or Redis's.
func (r *Registry) SetDirect(ctx context.Context, key Key, direct bool) error {
	l, number, before := r.known(key)
	if l == nil || before == direct {
		return nil
	}
	m, err := r.marker(ctx, key, number, &direct)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lanes[key] == l {
		l.set(m)
		l.changed = true
	}
	return nil
}

// known returns the lane that the community is in, or nil, and what is known of it at this moment.
func (r *Registry) known(key Key) (l *Lane, number int, direct bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if l = r.lanes[key]; l != nil {
		number, direct = l.number, l.direct
	}
	return l, number, direct
}

func (r *Registry) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.lanes)
}

// add puts communities into lanes, or changes the lanes that they are in, but not those that SetDirect has changed since
// the markers were read.
func (r *Registry) add(open map[Key]marker, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, m := range open {
		if l := r.lanes[key]; l != nil {
			if !l.changed {
				l.set(m)
			}
			continue
		}
		l := &Lane{Key: key, parts: r.parts, since: now}
		l.set(m)
		r.lanes[key] = l
		r.o.Opened(l)
	}
}

// begin returns the lanes that communities are in, before Poll reads the markers.
func (r *Registry) begin() []*Lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lanes {
		l.changed = false
	}
	return slices.Collect(maps.Values(r.lanes))
}

// byKey orders keys, so that what is done to many is done in one order.
func byKey(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Community, b.Community))
}
