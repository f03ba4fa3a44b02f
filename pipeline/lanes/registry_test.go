package lanes

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// world is a NATS server with OVERFLOW and a redis-server.
type world struct {
	*testing.T
	server *testserver.NATSServer
	js     jetstream.JetStream
	redis  *testserver.RedisServer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := testserver.NATS(t)
	w := &world{t, server, testserver.JetStream(t, server.Connect(t)), testserver.Redis(t)}
	w.ensure()
	return w
}

var inMemory = streams.Options{Storage: jetstream.MemoryStorage}

func (w *world) ensure() {
	w.Helper()
	if err := streams.Ensure(w.Context(), w.js, nil, inMemory, slog.New(slog.DiscardHandler)); err != nil {
		w.Fatal(err)
	}
}

// process is what one process knows of the lanes.
type process struct {
	*Registry
	w        *world
	registry *prometheus.Registry
	busy     atomic.Bool
	opened   []Key
	decided  []bool // whether a lane that was closing was left
}

func (w *world) process() *process {
	w.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: w.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	w.Cleanup(func() { _ = rdb.Close() })
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		w.Fatal(err)
	}
	p := &process{w: w, registry: prometheus.NewRegistry()}
	p.Registry = New(Options{
		JetStream: w.js, Redis: rdb, Health: health, Registerer: p.registry, Logger: slog.New(slog.DiscardHandler),
		Consumer: func(ctx context.Context, lane int) error { return streams.EnsureLane(ctx, w.js, lane, inMemory) },
		Busy:     func(Key) bool { return p.busy.Load() },
		Opened:   func(l *Lane) { p.opened = append(p.opened, l.Key) },
		Decided:  func(_ *Lane, left bool) { p.decided = append(p.decided, left) },
	})
	return p
}

func (p *process) open(community string, direct bool) {
	p.w.Helper()
	if err := p.Open(p.w.Context(), command(community), direct); err != nil {
		p.w.Fatal(err)
	}
}

// after polls as if so much time had passed.
func (p *process) after(d time.Duration) { p.Poll(p.w.Context(), time.Now().Add(d)) }

// leaves waits until the community leaves its lane. It is tried again and again, as if much time had passed, because a busy
// machine may take longer to look than messages are kept back.
func (p *process) leaves(community string, later time.Duration) {
	p.w.Helper()
	testserver.Eventually(p.w, community+" leaves its lane", func() bool {
		p.after(later)
		later += longestPause
		return p.lane(community) == ""
	})
}

// lane returns the subject of a community's lane, with "direct" behind it if it is, or "".
func (p *process) lane(community string) string {
	p.Hold()
	defer p.Release()
	l := p.Find(command(community))
	switch {
	case l == nil:
		return ""
	case l.Direct():
		return l.Subject() + " direct"
	default:
		return l.Subject()
	}
}

func (p *process) want(community, lane string) {
	p.w.Helper()
	if got := p.lane(community); got != lane {
		p.w.Errorf("%s is in %q, want %q", community, got, lane)
	}
}

// store stores a message in a community's lane.
func (w *world) store(community string, lane int) {
	w.Helper()
	if _, err := w.js.Publish(w.Context(), contract.LaneSubject(contract.KindCommand, community, lane), []byte("{}")); err != nil {
		w.Fatal(err)
	}
}

// handle takes everything out of OVERFLOW.
func (w *world) handle() {
	w.Helper()
	s, err := w.js.Stream(w.Context(), contract.StreamOverflow)
	if err == nil {
		err = s.Purge(w.Context())
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (p *process) markers() string {
	p.w.Helper()
	fields, err := p.o.Redis.HKeys(p.w.Context(), markersKey).Result()
	if err != nil {
		p.w.Fatal(err)
	}
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

func TestLanesAreKnownToAllProcesses(t *testing.T) {
	w := newWorld(t)
	a, b := w.process(), w.process()
	a.open("big", true)
	a.open("other", false)
	a.open("big", true) // what waits is moved again
	a.want("big", "overflow.command.big.00 direct")
	b.want("big", "")
	b.open("big", true) // it is over its due there as well, before the poll
	b.want("big", "overflow.command.big.00 direct")
	b.after(0)
	b.want("other", "overflow.command.other.01")
	if len(a.opened) != 3 || len(b.opened) != 2 {
		t.Errorf("opened %v and %v", a.opened, b.opened)
	}
	if err := b.SetDirect(t.Context(), command("big"), false); err != nil {
		t.Fatal(err)
	}
	b.want("big", "overflow.command.big.00")
	a.after(0)
	a.want("big", "overflow.command.big.00")
	for _, p := range []*process{a, b} {
		if got := p.Consumers(); len(got) != 2 {
			t.Errorf("lanes to be read: %v", got)
		}
		if n := testutil.ToFloat64(p.metrics.lanes); p == b && n != 2 {
			t.Errorf("arrakis_lanes is %v", n)
		}
	}
}

func TestLaneIsLeftWhenItIsEmpty(t *testing.T) {
	w := newWorld(t)
	a, b := w.process(), w.process()
	a.open("big", false)
	for range DueMessages {
		w.store("big", 0)
	}
	b.after(0)
	const in = "overflow.command.big.00"
	later := time.Hour
	stays := func(why string) {
		t.Helper()
		later += time.Minute // it is not tried all the time
		a.after(later)
		if a.want("big", in); t.Failed() {
			t.Fatal(why)
		}
	}
	stays("it holds many messages")
	w.handle()
	a.after(a.o.MinStay - time.Second)
	a.want("big", in) // too soon
	a.busy.Store(true)
	stays("messages wait here that came before")
	a.busy.Store(false)
	if len(a.decided) > 0 {
		t.Error("messages were kept back for nothing")
	}

	a.Hold()
	l := a.Find(command("big"))
	l.Enter(2)
	a.Release()
	stays("two messages are on their way")
	l.Left(1)
	stays("a message is on its way")
	l.Left(1)
	w.store("big", 0)
	stays("it holds a message")
	w.handle()
	a.after(later + time.Second) // it was tried a moment ago
	a.want("big", in)
	if want := []bool{false, false, false}; !slices.Equal(a.decided, want) {
		t.Errorf("left %v, want %v", a.decided, want)
	}
	a.leaves("big", later+longestPause)
	if !a.decided[len(a.decided)-1] {
		t.Errorf("left %v, want that the last one is true", a.decided)
	}
	b.want("big", in)
	b.leaves("big", 0)
	if got := a.markers(); got != "" {
		t.Errorf("markers that are left: %s", got)
	}
}

// A lane that others have closed is left at once, however often this process has failed to close it: what it put into the
// lane would open it again for all.
func TestLaneThatOthersHaveClosedIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process(), w.process()
	a.open("big", false)
	b.open("big", false)
	w.store("big", 0)
	later := time.Hour
	for range 6 { // it is tried each time
		later += longestPause
		b.after(later)
	}
	if want := slices.Repeat([]bool{false}, 6); !slices.Equal(b.decided, want) {
		t.Fatalf("left %v, want %v", b.decided, want)
	}
	w.handle()
	b.after(later + time.Second)
	b.want("big", "overflow.command.big.00") // it was tried a moment ago
	a.leaves("big", later)
	testserver.Eventually(t, "the other one leaves it too", func() bool {
		b.after(later + 2*time.Second) // when it is not due
		return b.lane("big") == ""
	})
}

// A process that cannot make the consumer of a lane leaves the lane of another process open, and none of its own.
func TestOpenThatFailsClosesNoLaneOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process(), w.process()
	a.open("big", false)
	failed := errors.New("JetStream is slow")
	b.o.Consumer = func(context.Context, int) error { return failed }
	for _, community := range []string{"big", "other"} {
		if err := b.Open(t.Context(), command(community), false); !errors.Is(err, failed) {
			t.Errorf("error %v", err)
		}
		b.want(community, "")
	}
	if got := a.markers(); got != "command:big" {
		t.Errorf("markers: %q, want that of the other process alone", got)
	}
}

// When nobody takes messages of a lane, JetStream is asked whether it can be used before what waits is moved again.
func TestLostLaneIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process()
	p.open("big", false)
	failed := errors.New("OVERFLOW has no leader")
	p.o.Consumer = func(context.Context, int) error { return failed }
	l, _, _ := p.known(command("big"))
	p.Lost(l)
	if p.Reads(command("big")) {
		t.Error("the lane counts as one that is read")
	}
	if err := p.Open(t.Context(), command("big"), false); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	if len(p.opened) != 1 {
		t.Errorf("opened %v, want once", p.opened)
	}
}

// A lane becomes empty although messages keep coming: for a moment they are kept back.
func TestLaneIsLeftUnderMessages(t *testing.T) {
	w := newWorld(t)
	p := w.process()
	p.open("big", false)
	stop := make(chan struct{})
	var coming sync.WaitGroup
	enter := func() *Lane {
		p.Hold()
		defer p.Release()
		l := p.Find(command("big"))
		if l == nil || l.Closing() {
			return nil
		}
		l.Enter(1)
		return l
	}
	for range 4 { // at any time, one of them is in the lane
		coming.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if l := enter(); l != nil {
					w.store("big", 0)
					l.Left(1)
				} else {
					<-time.After(time.Millisecond) // or one processor has time for nothing else
				}
			}
		})
	}
	coming.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.handle()
				<-time.After(time.Millisecond)
			}
		}
	})
	later := time.Hour
	testserver.Eventually(t, "the lane is left", func() bool {
		later += time.Minute
		p.after(later)
		return p.lane("big") == ""
	})
	close(stop)
	coming.Wait()
}

// OVERFLOW says who is in a lane, whatever Redis has lost.
func TestLanesOutliveRedis(t *testing.T) {
	w := newWorld(t)
	a := w.process()
	a.open("idle", false)
	a.open("big", true)
	w.store("big", 1)
	w.store("big", 1)
	if err := a.o.Redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	late := w.process()
	late.after(0)
	late.want("big", "overflow.command.big.01")
	if got := late.markers(); got != "command:big" {
		t.Errorf("markers: %q", got)
	}
	a.after(0)
	a.want("big", "overflow.command.big.01") // that it is direct is lost: its next message says it again
	a.leaves("idle", 0)
	if got := testutil.ToFloat64(a.metrics.messages); got != 2 {
		t.Errorf("arrakis_lane_messages is %v", got)
	}
	if got := testutil.ToFloat64(a.metrics.bytes); got <= 0 {
		t.Errorf("arrakis_lane_bytes is %v", got)
	}
}

// Without Redis processes open lanes by themselves: the same ones. When it is back, they are known to all again.
func TestLanesWithoutRedis(t *testing.T) {
	w := newWorld(t)
	a, b := w.process(), w.process()
	a.open("before", false)
	b.after(0)
	w.redis.Kill()
	a.open("big", true)
	b.open("big", true)
	shared := contract.LaneSubject(contract.KindCommand, "big", command("big").shared())
	a.want("big", shared+" direct")
	b.want("big", shared+" direct")
	b.after(0)
	b.want("before", "overflow.command.before.00")
	w.store("before", 0)
	late := w.process()
	late.after(0)
	late.want("before", "overflow.command.before.00") // from OVERFLOW
	w.store("big", command("big").shared())

	w.redis.Start()
	testserver.Eventually(t, "Redis knows the lanes again", func() bool {
		a.after(0)
		fields, _ := a.o.Redis.HKeys(t.Context(), markersKey).Result()
		return len(fields) == 2
	})
	a.want("big", shared+" direct")
	w.handle()
	a.leaves("big", time.Hour)
	a.leaves("before", time.Hour)
	if got := a.markers(); got != "" {
		t.Errorf("markers that are left: %s", got)
	}
}

// Without OVERFLOW nobody is sent to a lane.
func TestNoLaneWithoutOverflow(t *testing.T) {
	w := newWorld(t)
	if err := w.js.DeleteStream(t.Context(), contract.StreamOverflow); err != nil {
		t.Fatal(err)
	}
	p := w.process()
	if err := p.Open(t.Context(), command("big"), false); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("error %v", err)
	}
	p.want("big", "")
	if got := p.markers(); got != "" {
		t.Errorf("markers that are left: %s", got)
	}
	w.ensure()
	p.open("big", false)
	p.want("big", "overflow.command.big.00")
}

func TestLook(t *testing.T) {
	w := newWorld(t)
	p := w.process()
	p.open("idle", true)
	p.open("big", false)
	for range 3 {
		w.store("big", 1)
	}
	w.store("straggler", 33)
	if err := p.o.Redis.HDel(t.Context(), markersKey, "command:straggler").Err(); err != nil {
		t.Fatal(err)
	}
	list, err := Look(t.Context(), w.js, p.o.Redis, p.o.Health, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, strings.Join([]string{
			s.Community, contract.LaneConsumer(s.Lane), map[bool]string{true: "shared", false: "own"}[s.Shared],
			map[bool]string{true: "direct", false: "-"}[s.Direct],
		}, " "))
		if s.Messages > 0 != (s.Bytes > 0) || s.Messages > 0 != (s.Oldest > 0) || s.Opened.IsZero() != (s.Community == "straggler") {
			t.Errorf("%+v", s)
		}
	}
	want := []string{"big lane-01 own -", "idle lane-00 own direct", "straggler lane-33 shared -"}
	if !slices.Equal(got, want) || list[0].Messages != 3 {
		t.Errorf("%q, want %q; %+v", got, want, list[0])
	}
}
