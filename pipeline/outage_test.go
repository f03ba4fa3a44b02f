package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// What waits in a process while the connection to NATS is lost for longer than the ack wait comes again, and runs once
// all the same. After a short outage it does not come again, and must not be forgotten either.
func TestOutageRunsNothingTwice(t *testing.T) {
	t.Parallel()
	const (
		communities, each, workers = 20, 10, 2 // so many that none is over its due
		messages                   = communities * each
		ackWait                    = 6 * time.Second
	)
	for name, long := range map[string]bool{"longer than the ack wait": true, "short": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.NATS(t)
			b := setupOn(t, server.Connect(t)) // the test's own connection
			proxy := testserver.Proxy(t, strings.TrimPrefix(server.URL(), "nats://"))
			conn := testserver.ConnectNATS(t, "nats://"+proxy.Addr(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
			b.options = func(o *Options) { o.NATS, o.HandlerConcurrency, o.Logger = conn, workers, discard }
			var mu sync.Mutex // protects runs
			runs := make(map[string]int)
			release := make(chan struct{})
			b.handlers.Command("work", func(_ context.Context, m *Message) (any, error) {
				mu.Lock()
				runs[m.EventID]++
				mu.Unlock()
				<-release
				return nil, nil
			})
			for i := range communities {
				if _, _, err := b.store.UpgradeTier(t.Context(), fmt.Sprint("c", i), tenant.Enterprise); err != nil {
					t.Fatal(err)
				}
			}
			b.ensure()
			b.setAckWait(contract.StreamCommands, contract.ConsumerCommand, ackWait)
			p, _ := b.start()
			for i := range messages {
				b.send("commands.interaction", command(fmt.Sprint("c", i%communities), "work", fmt.Sprint("e", i)))
			}
			wait := func(what string, n int) {
				t.Helper()
				testserver.Eventually(t, what, func() bool { waiting, _ := p.admitted.depth(); return waiting == n })
			}
			wait("all but those that run wait", messages-workers)

			proxy.Refuse()
			lost := time.Now()
			if long {
				testserver.Eventually(t, "the ack waits pass", func() bool { return time.Since(lost) > ackWait+2*overdueMargin })
			}
			proxy.Accept()
			testserver.Eventually(t, "the connection is back", func() bool { return conn.Stats().Reconnects > 0 })
			want := 0
			if long {
				want = messages - workers
				wait("all have come again", 2*messages-workers)
			} else {
				testserver.Eventually(t, "an ack wait passes", func() bool { return time.Since(lost) > ackWait*3/2 })
			}
			close(release)

			testserver.Eventually(t, "all are done", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
			mu.Lock()
			defer mu.Unlock()
			twice := 0
			for _, n := range runs {
				twice += n - 1
			}
			if len(runs) != messages || twice > workers || !long && twice > 0 {
				t.Errorf("%d of %d messages ran, and %d times more than once", len(runs), messages, twice)
			}
			if n := b.value("arrakis_forgotten_total"); n != float64(want) {
				t.Errorf("%v messages were forgotten, want %d", n, want)
			}
		})
	}
}
