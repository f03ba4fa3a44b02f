package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant/store"
)

// TestBoostOverProcesses raises the limit of a community that floods two workers. The boost is in force in both, and ends
// by the clock of Redis: whatever is admitted after that fits into the limit without it.
func TestBoostOverProcesses(t *testing.T) {
	const boost = 50
	f := newFlood(t, 2)
	env := environment{"REDIS_URL": "redis://" + f.rdb.Options().Addr}
	published := 0
	// usesUp publishes more than the limit again and again, because a worker may learn late of a change, until so many are
	// admitted and all others are rejected.
	usesUp := func(what string, want int) {
		t.Helper()
		testserver.Eventually(t, what, func() bool {
			if !f.idle(t) {
				return false
			}
			if f.look(t); len(f.admitted) >= want {
				return true
			}
			for range 2 * floodLimit {
				publishWork(t, f.js, fmt.Sprint("a", published))
				published++
			}
			return false
		})
		if n := len(f.admitted); n != want {
			t.Fatalf("%s: %d admitted, want %d", what, n, want)
		}
	}
	usesUp("the limit is used up", floodLimit)
	if r := arrakis(t, env, "tenant", "boost", "flooded", fmt.Sprintf("--commands=+%d", boost), "--for=1h"); r.code != exitDone ||
		!strings.Contains(r.stdout, fmt.Sprintf("%d per 1m, +%d until 20", floodLimit, boost)) {
		t.Fatalf("tenant boost: %+v", r)
	}
	r := arrakis(t, env, "usage", "flooded")
	if want := fmt.Sprintf("%d   %d", floodLimit, floodLimit+boost); !strings.Contains(r.stdout, want) || !boostLeft.MatchString(r.stdout) {
		t.Errorf("usage: %+v", r)
	}
	usesUp("the boost is used up", floodLimit+boost)

	// Again, with a boost that ends while messages come.
	if r := arrakis(t, env, "tenant", "boost", "quiet", "--end"); r.code != exitFailed || !strings.Contains(r.stderr, "nothing to end") {
		t.Fatalf("tenant boost --end where there is none: %+v", r)
	}
	if r := arrakis(t, env, "tenant", "boost", "flooded", "--end"); r.code != exitDone || strings.Contains(r.stdout, "until") {
		t.Fatalf("tenant boost --end: %+v", r)
	}
	if r := arrakis(t, env, "reset", "flooded", "command"); r.code != exitDone {
		t.Fatalf("reset: %+v", r)
	}
	clear(f.admitted)
	if r := arrakis(t, env, "tenant", "boost", "flooded", fmt.Sprintf("--commands=+%d", boost), "--for=3s"); r.code != exitDone {
		t.Fatalf("tenant boost: %+v", r)
	}
	config, _, err := store.New(f.rdb, store.Options{}).Get(t.Context(), "flooded")
	if err != nil {
		t.Fatal(err)
	}
	until := config.Boosts.CommandsPerMinute.Until
	ctx, cancel := context.WithCancel(t.Context())
	var publisher sync.WaitGroup
	publisher.Go(func() { publishTwice(ctx, t, f.js, 45) }) // the limit is used up shortly before the boost ends
	testserver.Eventually(t, "the boost has ended for some time, and the limit is used up", func() bool {
		f.look(t)
		now, err := f.rdb.Time(t.Context()).Result()
		return err == nil && now.After(until.Add(2*time.Second)) && len(f.admitted) >= floodLimit
	})
	cancel()
	publisher.Wait()
	f.look(t)
	var times []int64
	for _, at := range f.admitted {
		times = append(times, at...)
	}
	slices.Sort(times)
	after := len(times) - slices.IndexFunc(append(times, until.UnixMilli()), func(at int64) bool { return at >= until.UnixMilli() })
	if n := len(times); after > 0 && n > floodLimit || n > floodLimit+boost {
		t.Errorf("%d admitted, of which %d after the boost of %d had ended, with a limit of %d", n, after, boost, floodLimit)
	}
	t.Logf("%d admitted, %d of them after the boost", len(times), after)
}

// boostLeft is a boost for an hour, of which some seconds may have gone by.
var boostLeft = regexp.MustCompile(`\+50 for (1h|59m)`)

// idle reports whether the workers have done with all commands.
func (f *flood) idle(t *testing.T) bool {
	t.Helper()
	c, err := f.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	info := c.CachedInfo()
	return info.NumPending == 0 && info.NumAckPending == 0
}

// publishWork publishes a command of the flooded community.
func publishWork(t *testing.T, js jetstream.JetStream, id string) {
	t.Helper()
	body := fmt.Sprintf(`{"event_id":%q,"event_type":"interaction.create","guild_id":"flooded","data":{"command_name":"work"}}`, id)
	if _, err := js.Publish(t.Context(), "commands.interaction", []byte(body)); err != nil {
		t.Fatal(err)
	}
}
