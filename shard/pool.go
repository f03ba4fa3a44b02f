package shard

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Options configures a [Pool]. There are no defaults.
type Options struct {
	// Tenants reads tenants. It must use the same Redis as Limits. Required.
	Tenants *store.Store
	// Limits decides on the messages that the local windows do not reject. Required.
	Limits *limiter.Limiter
	// Shards is the number of shards, 1 to 4096.
	Shards int
	// Mailbox is how many messages each shard's mailbox holds, at least 1. It is also the largest batch. The senders to
	// a full mailbox wait.
	Mailbox int
	// CacheSize is how many tenants are cached over all shards, at least 1. Where tenants fall unevenly on the shards,
	// up to a tenth more are cached. A new tenant replaces the least recently used one.
	CacheSize int
	// CacheTTL is the age at which a cached tenant is read again. It must be more than 0.
	CacheTTL time.Duration
	// Logger logs changes of state. Required.
	Logger *slog.Logger
	// Registerer receives the metrics; nil means none.
	Registerer prometheus.Registerer
}

func (o Options) validate() error {
	var errs []error
	if o.Tenants == nil {
		errs = append(errs, errors.New("shard: Tenants is required"))
	}
	if o.Limits == nil {
		errs = append(errs, errors.New("shard: Limits is required"))
	}
	if o.Logger == nil {
		errs = append(errs, errors.New("shard: Logger is required"))
	}
	if o.Shards < 1 || o.Shards > 4096 {
		errs = append(errs, fmt.Errorf("shard: Shards is %d, want 1 to 4096", o.Shards))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{{"Mailbox", int64(o.Mailbox)}, {"CacheSize", int64(o.CacheSize)}, {"CacheTTL", int64(o.CacheTTL)}} {
		if f.value < 1 {
			errs = append(errs, fmt.Errorf("shard: %s is %d, want at least 1", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}

// Pool is the shards of one process. Its methods are safe for concurrent use.
type Pool[M Message] struct {
	shards []*shard[M] // set by NewPool, read-only
	limits *limiter.Limiter
}

// NewPool returns a pool and starts nothing. The error names every option that is missing or out of range.
func NewPool[M Message](o Options) (*Pool[M], error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := &Pool[M]{shards: make([]*shard[M], o.Shards), limits: o.Limits}
	tenants := &tenantReader{store: o.Tenants, health: o.Limits.Health(), log: o.Logger.With("component", "shard")}
	m := newMetrics(o.Registerer, p.depths)
	// Tenants do not fall evenly on shards. Each shard has room for four standard deviations more than its even share,
	// so that CacheSize tenants fit.
	share := float64(o.CacheSize) / float64(o.Shards)
	size := int(math.Ceil(share + 4*math.Sqrt(share)))
	for i := range p.shards {
		p.shards[i] = newShard[M](o, size, tenants, m)
	}
	return p, nil
}

// Run runs the shards. Of each batch it calls resolved when the tenants are known and no limit has been asked: resolved
// may set Limited of a message to false, so that nothing is charged for it. Then Run passes the decided batch to out.
// Several shards call both at the same time; neither must keep the slice. Run returns when Close has been called and
// every batch has been passed on. It also returns when out returns an error or ctx ends; then the caller must take what
// is left from Abandoned. Call Run once.
func (p *Pool[M]) Run(ctx context.Context, resolved func([]M), out func(context.Context, []M) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range p.shards {
		g.Go(func() error { return s.run(ctx, resolved, out) })
	}
	return g.Wait()
}

// Abandoned returns the messages that Run has not passed on, after Run has returned. It waits for Close: until then,
// senders may still put messages into the mailboxes.
func (p *Pool[M]) Abandoned() iter.Seq[M] {
	return func(yield func(M) bool) {
		for _, s := range p.shards {
			if !s.abandoned(yield) {
				return
			}
		}
	}
}

// Close closes the mailboxes. All senders must have ended. Later calls of Notify have no effect.
func (p *Pool[M]) Close() {
	for _, s := range p.shards {
		s.mailbox.Close()
	}
}

// Notify puts a change of configuration or a reset of limits in force. For a reset it first makes the limiter forget
// the admissions in its memory. Then it puts the event into the mailboxes of the shards. It blocks while a mailbox is
// full.
func (p *Pool[M]) Notify(ctx context.Context, e tenant.Event) error {
	if limitID, actions, ok := e.Reset(); ok {
		forgetLocal(p.limits, limitID, actions)
	}
	return p.tell(ctx, e)
}

// tell puts the event into the mailboxes of the shards that it concerns.
func (p *Pool[M]) tell(ctx context.Context, e tenant.Event) error {
	shards := p.shards
	if e.Type == tenant.TenantChanged {
		i := index(e.TargetID, len(shards))
		shards = shards[i : i+1]
	}
	for _, s := range shards {
		if err := s.mailbox.Put(ctx, item[M]{event: &e}); err != nil && !errors.Is(err, ErrClosed) {
			return fmt.Errorf("notify shards of %s: %w", e.Type, err)
		}
	}
	return nil
}

func (p *Pool[M]) depths(each func(shard, depth int)) {
	for i, s := range p.shards {
		each(i, s.mailbox.Len())
	}
}

// Sorter sorts the messages of one sender by shard, so that each shard is woken once for many messages. One goroutine
// owns it.
type Sorter[M Message] struct {
	pool    *Pool[M]
	groups  [][]item[M] // by shard
	touched []int       // shards whose group is not empty
}

// Sorter returns a sorter for one sender.
func (p *Pool[M]) Sorter() *Sorter[M] {
	return &Sorter[M]{pool: p, groups: make([][]item[M], len(p.shards))}
}

// Add collects m for the next Flush, which puts it into its shard's mailbox.
func (s *Sorter[M]) Add(m M) { s.add(m.Admission().TenantKey, item[M]{message: m}) }

// AddSince is Add for a message that knows that its tenant's config was written at a time of Redis's clock, or later: it is
// decided on under that config, although no event may have told its shard yet. A tenant that is cached from before is read
// again, once for all messages that know of the same write.
func (s *Sorter[M]) AddSince(m M, written time.Time) {
	key := m.Admission().TenantKey
	s.add(key, item[M]{event: &tenant.Event{Type: configWritten, TargetID: key, At: written}})
	s.add(key, item[M]{message: m})
}

func (s *Sorter[M]) add(key string, it item[M]) {
	i := index(key, len(s.groups))
	if len(s.groups[i]) == 0 {
		s.touched = append(s.touched, i)
	}
	s.groups[i] = append(s.groups[i], it)
}

// Flush puts the collected messages into the mailboxes, and waits while a mailbox is full. An error is ctx's or
// ErrClosed. After an error some messages may have been put and others not.
func (s *Sorter[M]) Flush(ctx context.Context) error {
	for _, i := range s.touched {
		if err := s.pool.shards[i].mailbox.Put(ctx, s.groups[i]...); err != nil {
			return err
		}
		clear(s.groups[i])
		s.groups[i] = s.groups[i][:0]
	}
	s.touched = s.touched[:0]
	return nil
}
