package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"arrakis/pipeline/contract"
)

func queued(community string, n int) *delivery {
	d := &delivery{source: newRouteSource(nil, contract.KindCommand.Route(), discard)}
	d.Community, d.EventID = community, fmt.Sprintf("%s%d", community, n)
	return d
}

func TestFairQueueTakesTurns(t *testing.T) {
	q := newFairQueue(100, 1)
	var batch []*delivery
	for i := range 4 {
		batch = append(batch, queued("a", i))
	}
	batch = append(batch, queued("b", 0), queued("c", 0), queued("b", 1))
	if rest := q.put(t.Context(), batch); rest != nil {
		t.Fatalf("no room for %d", len(rest))
	}
	q.close()
	var got []string
	for {
		d, ok := q.next(0)
		if !ok {
			break
		}
		got = append(got, d.EventID)
	}
	if want := "a0 b0 c0 a1 b1 a2 a3"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
	if len(q.backlogs) != 0 || q.waiting != 0 || q.first != nil {
		t.Errorf("an empty queue holds %d backlogs, %d waiting", len(q.backlogs), q.waiting)
	}
}

// Whatever is put and taken, each community's order is kept, nothing is lost, and no community waits longer than one
// turn of each other.
func TestFairQueueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newFairQueue(10_000, 1)
		put, taken := map[string]int{}, map[string]int{}
		turns := map[string]int{} // takes since the community's last turn, while it waits
		total := 0
		take := func() {
			d, _ := q.next(0)
			if want := fmt.Sprintf("%s%d", d.Community, taken[d.Community]); d.EventID != want {
				t.Fatalf("took %s, want %s", d.EventID, want)
			}
			taken[d.Community]++
			total--
			for c := range put {
				if put[c] == taken[c] || c == d.Community {
					turns[c] = 0
				} else if turns[c]++; turns[c] > len(put) {
					t.Fatalf("%s waits for %d turns among %d communities", c, turns[c], len(put))
				}
			}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if total > 0 && rapid.Bool().Draw(t, "take") {
				take()
				continue
			}
			c := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "community")
			if rest := q.put(context.Background(), []*delivery{queued(c, put[c])}); rest != nil {
				t.Fatalf("no room for %d", len(rest))
			}
			put[c]++
			total++
		}
		for total > 0 {
			take()
		}
	})
}

func TestFairQueueBlocksWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFairQueue(2, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []*delivery, 1)
		go func() {
			done <- q.put(ctx, []*delivery{queued("a", 0), queued("a", 1), queued("a", 2), queued("a", 3)})
		}()
		synctest.Wait()
		if waiting, _ := q.depth(); waiting != 2 {
			t.Fatalf("%d wait, want 2", waiting)
		}
		q.next(0)
		synctest.Wait()
		if waiting, running := q.depth(); waiting != 2 || running != 1 {
			t.Fatalf("%d wait and %d run, want 2 and 1", waiting, running)
		}
		cancel()
		if rest := <-done; len(rest) != 1 {
			t.Errorf("put returned %d deliveries, want the one that found no room", len(rest))
		}
	})
}

func TestFairQueueWakesIdleWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 5
		q := newFairQueue(100, workers)
		release := make(chan struct{})
		for worker := range workers {
			go func() {
				for {
					if _, ok := q.next(worker); !ok {
						return
					}
					<-release
				}
			}()
		}
		synctest.Wait()
		var batch []*delivery
		for i := range 8 {
			batch = append(batch, queued("a", i))
		}
		if rest := q.put(t.Context(), batch); rest != nil {
			t.Fatalf("no room for %d", len(rest))
		}
		synctest.Wait()
		if waiting, running := q.depth(); running != workers || waiting != 3 {
			t.Errorf("%d run and %d wait, want %d and 3", running, waiting, workers)
		}
		close(release)
		q.close()
	})
}

func TestFairQueueDueInProgress(t *testing.T) {
	q := newFairQueue(10, 1)
	now := time.Now()
	batch := []*delivery{queued("a", 0), queued("a", 1), queued("b", 0)}
	for _, d := range batch {
		d.inProgress = now
		d.source.ackWait.Store(int64(30 * time.Second))
	}
	if rest := q.put(t.Context(), batch); rest != nil {
		t.Fatalf("no room for %d", len(rest))
	}
	q.next(0)
	if due := q.dueInProgress(now.Add(9 * time.Second)); len(due) != 0 {
		t.Errorf("%d are due after 9 s of 30 s", len(due))
	}
	if due := q.dueInProgress(now.Add(11 * time.Second)); len(due) != 3 {
		t.Errorf("%d are due after 11 s of 30 s, want all: those that wait and the one that runs", len(due))
	}
	if due := q.dueInProgress(now.Add(12 * time.Second)); len(due) != 0 {
		t.Errorf("%d are due again after 1 s", len(due))
	}
}
