package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/tenant"
)

// flooded is a bundle with an unlimited community, big, whose handlers the test holds up.
type flooded struct {
	*bundle
	gate chan struct{} // closed: the handlers of big go on
	once sync.Once

	mu      sync.Mutex
	handled map[string]int // by event ID
	order   []string       // event IDs as handlers began
}

func newFlooded(t *testing.T) *flooded {
	t.Helper()
	return newFloodedOn(t, testserver.NATS(t))
}

func newFloodedOn(t *testing.T, server *testserver.NATSServer) *flooded {
	t.Helper()
	f := &flooded{bundle: setupOn(t, server.Connect(t)), gate: make(chan struct{}), handled: map[string]int{}}
	f.server = server
	for _, unlimited := range []string{"big", "quiet"} {
		if _, _, err := f.store.UpgradeTier(t.Context(), unlimited, tenant.Enterprise); err != nil {
			t.Fatal(err)
		}
	}
	f.handlers.Command("work", func(ctx context.Context, m *Message) (any, error) {
		f.mu.Lock()
		f.handled[m.EventID]++
		f.order = append(f.order, m.EventID)
		f.mu.Unlock()
		if m.Community == "big" {
			select {
			case <-f.gate:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return m.Attempt, nil
	})
	t.Cleanup(f.open)
	return f
}

// open lets the handlers of big go on.
func (f *flooded) open() { f.once.Do(func() { close(f.gate) }) }

// flood publishes n commands of big, whose event IDs are their numbers from the first on.
func (f *flooded) flood(first, n int) {
	f.t.Helper()
	for i := range n {
		if _, err := f.js.PublishAsync("commands.interaction", command("big", "work", strconv.Itoa(first+i)), patient); err != nil {
			f.t.Fatal(err)
		}
	}
	<-f.js.PublishAsyncComplete()
}

// stored is how many messages a stream holds.
func (b *bundle) stored(stream string) uint64 {
	b.t.Helper()
	ctx, cancel := b.patiently()
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func (f *flooded) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.handled)
}

// wantOnce fails the test unless n messages were handled, each once.
func (f *flooded) wantOnce(n int) {
	f.t.Helper()
	testserver.Eventually(f.t, "everything is acknowledged", func() bool {
		return f.stored(contract.StreamCommands)+f.stored(contract.StreamOverflow) == 0
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.handled) != n {
		f.t.Errorf("%d messages were handled, want %d", len(f.handled), n)
	}
	for id, times := range f.handled {
		if times != 1 {
			f.t.Errorf("message %s was handled %d times", id, times)
		}
	}
}

// awaitLane waits until nearly all of n messages are in a lane, and less than a tenth of the consumer's pool is in use.
func (f *flooded) awaitLane(n uint64) {
	f.t.Helper()
	testserver.Eventually(f.t, "the backlog is in its lane", func() bool {
		return f.left(contract.StreamCommands, contract.ConsumerCommand) < 1_000 && f.stored(contract.StreamOverflow) > n-1_000
	})
}

// openLane opens a lane for a community before a worker starts.
func (b *bundle) openLane(community string) {
	b.t.Helper()
	ctx := b.t.Context()
	registry := lanes.New(lanes.Options{
		JetStream: b.js, Redis: b.rdb, Health: b.limits.Health(), Logger: discard,
		Consumer: func(ctx context.Context, lane int) error {
			return streams.EnsureLane(ctx, b.js, lane, streams.Options{})
		},
		Opened: func(*lanes.Lane) {},
	})
	if err := registry.Open(ctx, lanes.Key{Kind: contract.KindCommand, Community: community}, false); err != nil {
		b.t.Fatal(err)
	}
}

// stayInLane opens a lane for a community before a worker starts, in which it stays.
func (b *bundle) stayInLane(community string) {
	b.t.Helper()
	options := b.options
	b.options = func(o *Options) {
		if options != nil {
			options(o)
		}
		o.laneStay = time.Hour
	}
	b.ensure()
	b.openLane(community)
}

// A backlog waits in its lane: the pool of the consumer stays free for others, who are served at once, and when the
// backlog is worked off nothing is lost, and nothing was handled twice.
func TestBacklogWaitsInALane(t *testing.T) {
	t.Parallel()
	const n = 6_000
	f := newFlooded(t)
	f.start()
	f.flood(0, n)
	f.awaitLane(n)
	for i := range 100 {
		sub := f.publish("commands.interaction", command("quiet", "work", fmt.Sprintf("quiet-%d", i)))
		if o := f.outcome(sub); o.Status != contract.StatusOK {
			t.Fatalf("%+v", o)
		}
	}
	if waiting := f.stored(contract.StreamOverflow); waiting < n-1_000 {
		t.Errorf("only %d messages wait in the lane: the test shows nothing", waiting)
	}
	if c, err := f.js.Consumer(t.Context(), contract.StreamOverflow, contract.LaneConsumer(0)); err != nil || c.CachedInfo().NumAckPending > 4*256 {
		t.Errorf("the worker has %d messages of the lane, whose backlog is to wait in the stream (%v)", c.CachedInfo().NumAckPending, err)
	}
	status, err := lanes.Look(t.Context(), f.js, f.rdb, f.limits.Health(), "")
	if err != nil || len(status) != 1 || status[0].Community != "big" || !status[0].Direct || status[0].Messages < n-1_000 {
		t.Errorf("%+v, %v", status, err)
	}
	f.open()
	testserver.Eventually(t, "all are handled", func() bool { return f.count() == n+100 })
	f.wantOnce(n + 100)
}

// With one worker and one handler at a time for the community, its messages begin in the order in which they were stored:
// those that came before there was a lane, those that went through it, and those that came after it was left.
func TestOrderThroughALane(t *testing.T) {
	t.Parallel()
	const n = 5_000
	f := newFlooded(t)
	f.options = func(o *Options) { o.TenantConcurrency, o.laneStay = 1, time.Second }
	p, _ := f.start()
	f.flood(0, n/2)
	testserver.Eventually(t, "there is a lane", func() bool { return f.stored(contract.StreamOverflow) > 1_000 })
	f.flood(n/2, n/2)
	f.awaitLane(n)
	f.open()
	testserver.Eventually(t, "the lane is worked off", func() bool { return f.count() == n })
	inLane := func() bool {
		p.laneKeeper.registry.Hold()
		defer p.laneKeeper.registry.Release()
		return p.laneKeeper.registry.Any()
	}
	for i := 0; inLane(); i++ { // some of these go through the lane, and some do not
		f.flood(n+i, 1)
	}
	last := f.count()
	f.flood(n+last, 10)
	f.mu.Lock()
	defer f.mu.Unlock()
	before := -1
	for _, id := range f.order {
		number, _ := strconv.Atoi(id)
		if number <= before {
			t.Fatalf("message %d began after message %d", number, before)
		}
		before = number
	}
}
