package lanes

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

func newMarkers(t *testing.T, addr string) (*markers, *redis.Client) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	if err := rdb.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		t.Fatal(err)
	}
	return &markers{rdb, health}, rdb
}

func command(community string) Key { return Key{contract.KindCommand, community} }

func TestMarkers(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s, rdb := newMarkers(t, addr)
		open := func(key Key, lane int, direct *bool) marker {
			t.Helper()
			m, err := s.open(t.Context(), key, lane, direct)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		first := open(command("a:b"), anyLane, new(true))
		if !first.made {
			t.Error("the first call has not made the marker")
		}
		first.made = false
		if again := open(command("a:b"), anyLane, new(true)); again != first {
			t.Errorf("opened again: %+v, want %+v", again, first)
		}
		if first.Lane != 0 || !first.Direct || first.Epoch == "" || first.Opened == 0 {
			t.Errorf("%+v", first)
		}
		if other := open(Key{contract.KindSync, "a:b"}, anyLane, new(false)); other.Lane != 1 || other.Direct {
			t.Errorf("another kind: %+v", other)
		}
		limited := first
		limited.Direct = false
		for _, direct := range []*bool{new(false), nil} { // no longer unlimited; another process that does not know it
			if got := open(command("a:b"), anyLane, direct); got != limited {
				t.Errorf("direct %v: %+v, want %+v", direct, got, limited)
			}
		}
		if got := open(command("holds"), 7, nil); got.Lane != 7 || got.Direct {
			t.Errorf("a lane that holds messages: %+v", got)
		}

		all, err := s.all(t.Context())
		if err != nil || len(all) != 3 || all[command("a:b")] != limited {
			t.Errorf("%v, %v", all, err)
		}

		// One who is late closes only the lane that he has seen.
		closed := func(epoch string) bool {
			t.Helper()
			if err := s.close(t.Context(), command("a:b"), epoch); err != nil {
				t.Fatal(err)
			}
			return !rdb.HExists(t.Context(), markersKey, "command:a:b").Val()
		}
		if closed("1") {
			t.Error("closed under another epoch")
		}
		if !closed(first.Epoch) {
			t.Error("not closed")
		}
		if again := open(command("a:b"), anyLane, new(true)); again.Epoch == first.Epoch || closed(first.Epoch) {
			t.Errorf("opened again: %+v, before it %+v", again, first)
		}
	})
}

// The lanes of one community each are given out first; then communities share, each always the same lane. A lane that
// becomes free is given out again.
func TestMarkersShareWhenLanesAreTaken(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s, rdb := newMarkers(t, addr)
		var numbers []int
		epochs := map[int]string{}
		for i := range 60 {
			key := command(fmt.Sprintf("c%d", i))
			m, err := s.open(t.Context(), key, anyLane, new(false))
			if err != nil {
				t.Fatal(err)
			}
			epochs[i] = m.Epoch
			if i < contract.FirstSharedLane {
				numbers = append(numbers, m.Lane)
			} else if m.Lane != key.shared() {
				t.Errorf("%s is in lane %d, want %d", key.Community, m.Lane, key.shared())
			}
		}
		slices.Sort(numbers)
		if numbers = slices.Compact(numbers); len(numbers) != contract.FirstSharedLane {
			t.Errorf("%v", numbers)
		}
		if err := s.close(t.Context(), command("c5"), epochs[5]); err != nil {
			t.Fatal(err)
		}
		if m, err := s.open(t.Context(), command("late"), anyLane, new(false)); err != nil || m.Lane != 5 {
			t.Errorf("%+v, %v", m, err)
		}

		// A marker that cannot be read is replaced; it counts for the bound.
		if err := rdb.HSet(t.Context(), markersKey, "command:c7", `{"lane":"x"`).Err(); err != nil {
			t.Fatal(err)
		}
		if all, err := s.all(t.Context()); err != nil || len(all) != 59+1-1 {
			t.Errorf("%d markers, %v", len(all), err)
		}
		if m, err := s.open(t.Context(), command("c7"), anyLane, new(false)); err != nil || m.Lane != 7 {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

func TestMarkersAreBounded(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s, rdb := newMarkers(t, addr)
		var fields []any
		for i := range maxMarkers - 1 {
			fields = append(fields, fmt.Sprintf("command:c%d", i), `{"lane":3,"epoch":"1","opened":1,"direct":false}`)
		}
		if err := rdb.HSet(t.Context(), markersKey, fields...).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.open(t.Context(), command("last"), anyLane, new(false)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.open(t.Context(), command("more"), anyLane, new(false)); !errors.Is(err, errTooMany) {
			t.Errorf("error %v, want %v", err, errTooMany)
		}
		if m, err := s.open(t.Context(), command("c9"), anyLane, new(false)); err != nil || m.Lane != 3 {
			t.Errorf("one that is there: %+v, %v", m, err)
		}
	})
}
