package redisscript

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// groupBed is a Group whose first round trips can be held up.
type groupBed struct {
	*process
	group *Group
	held  chan struct{} // while a round trip is held, it receives
}

// newGroupBed holds up the first trips round trips. The server knows the script add.
func newGroupBed(t *testing.T, rdb redis.UniversalClient, trips int) *groupBed {
	t.Helper()
	if err := rdb.ScriptLoad(t.Context(), add.source).Err(); err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, rdb)
	b := &groupBed{process: p, group: NewGroup(rdb, p.health), held: make(chan struct{})}
	p.trips.before = func(trip int) error {
		if trip <= trips {
			<-b.held
		}
		return nil
	}
	return b
}

// waiting waits until so many calls wait, beside those that are under way.
func (b *groupBed) waiting(n int) {
	b.t.Helper()
	testserver.Eventually(b.t, fmt.Sprint(n, " calls wait"), func() bool {
		b.group.mu.Lock()
		defer b.group.mu.Unlock()
		return len(b.group.waiting) == n && len(b.group.turn) == 1
	})
}

// TestGroupSharesTrips: what is called while a round trip is under way shares the next ones, of maxTrip calls at most.
// Each caller gets the answer, or the error, of its own call.
func TestGroupSharesTrips(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		b := newGroupBed(t, rdb, 1)
		if err := rdb.Set(t.Context(), "text", "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		const callers = 2*maxTrip - 2
		var all sync.WaitGroup
		call := func(i int) {
			defer all.Done()
			key := fmt.Sprint("shared", i)
			if i == 7 {
				key = "text"
			}
			c := newCall(add, key, i)
			err := b.group.Run(t.Context(), c)
			if i == 7 {
				if !errors.As(err, new(redis.Error)) || errors.Is(err, redishealth.ErrAway) {
					t.Errorf("a call on a key of another type: %v", err)
				}
			} else if n, _ := c.Cmd.Int(); err != nil || n != i {
				t.Errorf("call %d: %d, %v", i, n, err)
			}
		}
		all.Add(callers + 1)
		go call(0)
		b.waiting(0)
		for i := range callers {
			go call(i + 1)
		}
		b.waiting(callers)
		close(b.held)
		all.Wait()
		var sizes []int
		for _, trip := range b.trips.take() {
			sizes = append(sizes, strings.Count(trip, "evalsha"))
		}
		if diff := cmp.Diff([]int{1, maxTrip, maxTrip - 2}, sizes); diff != "" {
			t.Errorf("calls of each round trip (-want +got):\n%s", diff)
		}
	})
}

// TestGroupCallerLeaves: a caller whose context ends gets its error at once. A call that was not under way is not run.
// If that caller was making the round trip for others, they get their answers all the same.
func TestGroupCallerLeaves(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Redis(t).Addr())
	b := newGroupBed(t, rdb, 2)
	run := func(ctx context.Context, key string) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- b.group.Run(ctx, newCall(add, key, 1)) }()
		return ended
	}
	first := run(t.Context(), "first")
	b.waiting(0)
	leading, leave := context.WithCancel(t.Context())
	leader := run(leading, "leader")
	b.waiting(1)
	follower := run(t.Context(), "follower")
	b.waiting(2)
	short, end := context.WithCancel(t.Context())
	gone := run(short, "gone")
	b.waiting(3)
	end()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left: %v", err)
	}
	b.waiting(2)
	b.held <- struct{}{} // the first round trip ends, and whoever comes next makes the second
	if err := <-first; err != nil {
		t.Error(err)
	}
	b.waiting(0)
	leave()
	b.held <- struct{}{}
	if err := <-leader; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the leader: %v", err)
	}
	if err := <-follower; err != nil {
		t.Errorf("the follower: %v", err)
	}
	b.group.mu.Lock()
	defer b.group.mu.Unlock()
	if n := rdb.Exists(t.Context(), "gone").Val(); n != 0 || len(b.group.waiting) != 0 || len(b.group.turn) != 0 {
		t.Errorf("the call of who had left has run %d times; %d calls wait", n, len(b.group.waiting))
	}
}

// TestGroupOneNodeLost: on a Cluster only the calls of a lost node fail, at once when it counts as away.
func TestGroupOneNodeLost(t *testing.T) {
	t.Parallel()
	masters := testserver.Cluster(t, 3)
	b := newGroupBed(t, testserver.ConnectCluster(t, masters[0].Addr()), 0)
	masters[1].Kill()
	for round := range 2 {
		errs := make([]error, 60)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = b.group.Run(t.Context(), newCall(add, fmt.Sprint("n", i), 1)) })
		}
		all.Wait()
		if diff := cmp.Diff([]string{masters[1].Addr()}, b.health.Nodes()); diff != "" {
			t.Errorf("nodes that are away (-want +got):\n%s", diff)
		}
		away := 0
		for i, err := range errs {
			lost := b.health.KeyAway(fmt.Sprint("n", i))
			if lost {
				away++
			}
			if lost != errors.Is(err, redishealth.ErrAway) || !lost && err != nil {
				t.Errorf("round %d, n%d: away %t, %v", round, i, lost, err)
			}
		}
		if away == 0 || away == len(errs) {
			t.Errorf("%d of %d keys are away", away, len(errs))
		}
	}
}
