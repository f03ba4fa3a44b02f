package streams

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// process is what one process knows: Records of its own on a common Redis.
func process(t *testing.T, addr string) *Records {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		t.Fatal(err)
	}
	return NewRecords(rdb, health)
}

// looked is what a Keeper of the process does after a look at EVENTS.
func (r *Records) looked(t *testing.T, p place) {
	t.Helper()
	r.note(contract.StreamEvents, contract.ConsumerEvent, p)
	if err := r.rdb.HSet(t.Context(), recordKey(contract.StreamEvents), fieldFloor+contract.ConsumerEvent, p.String()).Err(); err != nil {
		t.Fatal(err)
	}
}

// F4: several workers have one turn after the other, so what one of them has seen itself may be old. The later place
// counts, not the larger one: somebody may have set the consumer back. An old one counts for nothing.
func TestF4TheLaterFloorCounts(t *testing.T) {
	t.Parallel()
	created := time.Now().Add(-time.Hour)
	at := func(age time.Duration, floor uint64) place {
		return place{created: created, at: created.Add(time.Hour - age), floor: floor}
	}
	earlier := fmt.Sprintf("%d 7", created.UnixNano()) // as an earlier version writes it
	other := at(0, 8)
	other.created = created.Add(-time.Hour)
	for name, tt := range map[string]struct {
		known place  // by the process
		kept  string // in Redis
		want  uint64
		alone error // without Redis; nil if what the process knows counts
	}{
		"nobody knows":                        {place{}, "", 0, ErrFloorUnknown},
		"Redis knows":                         {place{}, at(time.Hour, 9).String(), 9, ErrFloorUnknown},
		"Redis is later":                      {at(8*time.Second, 3), at(3*time.Second, 9).String(), 9, nil},
		"Redis is later, and was set back":    {at(8*time.Second, 9), at(3*time.Second, 3).String(), 3, nil},
		"the process is later":                {at(3*time.Second, 9), at(time.Minute, 3).String(), 9, nil},
		"the process is later, and set back":  {at(3*time.Second, 3), at(time.Minute, 9).String(), 3, nil},
		"the process saw it long ago":         {at(11*time.Second, 9), at(time.Minute, 3).String(), 3, ErrFloorUnknown},
		"the same, and Redis lost its data":   {at(11*time.Second, 9), "", 0, ErrFloorUnknown},
		"a clock was set back":                {at(-time.Minute, 9), at(time.Minute, 3).String(), 3, ErrFloorUnknown},
		"an earlier stream's":                 {other, other.String(), 0, ErrFloorUnknown},
		"a record of an earlier version":      {place{}, earlier, 7, ErrFloorUnknown},
		"the same, larger than what is known": {at(time.Second, 3), earlier, 3, nil},
		"the same, smaller":                   {at(time.Second, 9), earlier, 7, nil},
		"what is no place":                    {at(time.Second, 9), "7", 9, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Miniredis(t)
			r := process(t, server.Addr())
			r.note("EVENTS", "event-worker", tt.known)
			if tt.kept != "" {
				server.HSet("arrakis:stream:EVENTS", "floor:event-worker", tt.kept)
			}
			now := created.Add(time.Hour)
			if got, err := r.floor(t.Context(), "EVENTS", "event-worker", created, now); err != nil || got != tt.want {
				t.Errorf("%d, %v; want %d", got, err, tt.want)
			}
			server.Close()
			got, err := r.floor(t.Context(), "EVENTS", "event-worker", created, now)
			if !errors.Is(err, tt.alone) || err == nil && got != tt.known.floor {
				t.Errorf("without Redis: %d, %v; want %d, %v", got, err, tt.known.floor, tt.alone)
			}
		})
	}
}

// F4: two workers, of which the first had its last turn long ago. Without Redis, that one does not make the consumer
// again: it would begin with what the second had handled.
func TestF4AnOldFloorIsNotUsed(t *testing.T) {
	t.Parallel()
	js := testserver.JetStream(t, testserver.NATS(t).Connect(t))
	server := testserver.Miniredis(t)
	first, second := process(t, server.Addr()), process(t, server.Addr())
	ensure := func(r *Records) error {
		return Ensure(t.Context(), js, r, Options{Storage: jetstream.MemoryStorage}, slog.New(slog.DiscardHandler))
	}
	if err := ensure(first); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		if _, err := js.Publish(t.Context(), "events.member.join", nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(t.Context(), contract.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo()
	first.looked(t, place{created: info.Created, at: info.TimeStamp.Add(-time.Hour), floor: 3})
	second.looked(t, place{created: info.Created, at: info.TimeStamp, floor: 9})
	server.Close()
	if err := s.DeleteConsumer(t.Context(), contract.ConsumerEvent); err != nil {
		t.Fatal(err)
	}
	if err := ensure(first); !errors.Is(err, ErrFloorUnknown) {
		t.Errorf("the first: %v", err)
	}
	if err := ensure(second); err != nil {
		t.Fatal(err)
	}
	c, err := s.Consumer(t.Context(), contract.ConsumerEvent)
	if err != nil {
		t.Fatal(err)
	}
	if floor := c.CachedInfo().AckFloor.Stream; floor != 9 {
		t.Errorf("it goes on after message %d, want 9", floor)
	}
}
