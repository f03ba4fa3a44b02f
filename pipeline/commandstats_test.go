package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// setupOnRedis is setup on a redis-server, with the mix of 100 communities (10 enterprise, 20 pro, 70 free) and a
// handler of their command.
func setupOnRedis(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	rdb := testserver.Redis(t).Client(t)
	_ = b.rdb.Close() // that of miniredis
	b.rdb = rdb
	b.store = store.New(rdb, store.Options{Source: "test"})
	b.ownLimiter()
	for i := range 30 {
		tier := tenant.Pro
		if i < 10 {
			tier = tenant.Enterprise
		}
		if _, _, err := b.store.UpgradeTier(t.Context(), community(i), tier); err != nil {
			t.Fatal(err)
		}
	}
	b.handlers.Command("stats", func(context.Context, *Message) (any, error) { return nil, nil })
	b.options = func(o *Options) { o.Shards = 64 }
	return b
}

func community(i int) string { return fmt.Sprintf("comm_%03d", i) }

// process stores n commands of the first communities and waits until all are acknowledged. Event IDs begin with the name.
// The worker has always something to do, but of no community as much as makes it enter a lane: on a machine that is slow
// enough, a backlog of all of them would.
func (b *bundle) process(name string, n, communities int) {
	b.t.Helper()
	began := time.Now()
	portion := communities * lanes.DueMessages / 3
	for i := range n {
		if i%portion == 0 {
			testserver.Eventually(b.t, "messages are acknowledged", func() bool {
				return b.left(contract.StreamCommands, contract.ConsumerCommand) <= uint64(portion)
			})
		}
		body := command(community(i%communities), "stats", fmt.Sprint(name, i))
		if _, err := b.js.PublishAsync("commands.interaction", body, patient); err != nil {
			b.t.Fatal(err)
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
	case <-time.After(testserver.Patience):
		b.t.Fatalf("the messages are not stored after %v", testserver.Patience)
	}
	testserver.Eventually(b.t, "messages are acknowledged", func() bool {
		return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0
	})
	b.t.Logf("%s: %d messages done in %v", name, n, time.Since(began))
}

// commandStats returns how often Redis has run each command, those inside scripts too, but for those that clients run
// for themselves.
func (b *bundle) commandStats() map[string]int {
	b.t.Helper()
	info, err := b.rdb.Info(b.t.Context(), "commandstats").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	calls := map[string]int{}
	for line := range strings.Lines(info) {
		name, stats, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		count, _, _ := strings.Cut(stats, ",")
		n, err := strconv.Atoi(count)
		if err != nil {
			b.t.Fatalf("%q: %v", line, err)
		}
		command, _, _ := strings.Cut(name, "|")
		if !slices.Contains([]string{"info", "ping", "hello", "client"}, command) {
			calls[name] = n
		}
	}
	return calls
}

// spent returns what f makes Redis do.
func (b *bundle) spent(f func()) (calls map[string]int, total int) {
	b.t.Helper()
	before := b.commandStats()
	f()
	calls = b.commandStats()
	for name := range calls {
		calls[name] -= before[name]
		total += calls[name]
	}
	maps.DeleteFunc(calls, func(_ string, n int) bool { return n == 0 })
	return calls, total
}

// littleRedisMessages is how many a warm worker gets. It has to be done with them before the windows open again, a
// minute after the first admission.
var littleRedisMessages = 60_000

// TestInvariantLittleRedis: what is over its limit and what is unlimited costs Redis nothing, so a saturated worker
// costs it next to nothing. It is warm when each community has sent more than its limit of 100 or 10 a minute.
func TestInvariantLittleRedis(t *testing.T) {
	t.Run("mix", func(t *testing.T) {
		const warm = 12_000
		messages := littleRedisMessages
		b := setupOnRedis(t)
		b.start()
		cold, n := b.spent(func() { b.process("warm", warm, 100) })
		t.Logf("cold: %.2f commands for 1,000 messages: %v", float64(n)*1000/warm, cold)
		began := time.Now()
		calls, n := b.spent(func() { b.process("hot", messages, 100) })
		t.Logf("warm: %.2f commands for 1,000 messages: %v", float64(n)*1000/float64(messages), calls)
		if n >= messages/100+looks(began) {
			t.Errorf("%d commands for %d messages, want under 1 for 100: %v", n, messages, calls)
		}
	})
	t.Run("unlimited", func(t *testing.T) {
		const messages, tenants = 10_000, 10
		b := setupOnRedis(t)
		b.start()
		began := time.Now()
		calls, n := b.spent(func() { b.process("hot", messages, tenants) })
		t.Logf("%.2f commands for 1,000 messages: %v", float64(n)*1000/messages, calls)
		// Each tenant is read once, or twice if the test takes longer than the cache keeps it.
		if reads := calls["mget"]; reads == 0 || reads > 2*tenants || n-reads > messages/100+looks(began) {
			t.Errorf("%d commands, want the tenants' MGET and next to nothing else: %v", n, calls)
		}
	})
}

// looks is how many commands a worker may have needed since a time, whatever the number of messages: it looks at the
// records of streams and the markers of lanes every second or so.
func looks(since time.Time) int { return 20 * int(time.Since(since)/time.Second) }
