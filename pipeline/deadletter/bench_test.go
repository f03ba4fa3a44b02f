package deadletter

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// fill stores n dead letters on file, each of one of 1,000 communities, about 700 bytes each.
func fill(b *testing.B, n int) *Store {
	b.Helper()
	js := testserver.JetStream(b, testserver.NATS(b).Connect(b))
	if err := streams.Ensure(b.Context(), js, nil, streams.Options{Storage: jetstream.FileStorage}, slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		r := Record{
			Stream: contract.StreamCommands, Sequence: uint64(i), Stored: time.Unix(1, 0), Subject: "commands.interaction.c",
			Body: fmt.Appendf(nil, `{"event_id":"e%d","event_type":"interaction.create","guild_id":"comm_%03d","data":{"command_name":"ping","x":%q}}`,
				i, i%1000, strings.Repeat("x", 300)),
			Attempts: 5, Reason: contract.ReasonAttemptsExhausted, Cause: "the handler answered 502",
		}
		m := r.message(1 << 20)
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return New(js)
}

// BenchmarkList asks for a page of 50 of 100,000 dead letters: any, or of one community of 1,000, which has 100 of them.
func BenchmarkList(b *testing.B) {
	store := fill(b, 100_000)
	for _, order := range []Order{OldestFirst, NewestFirst} {
		for _, community := range []string{"", "comm_007", "comm_none"} {
			b.Run(fmt.Sprintf("order=%s/community=%s", order, community), func(b *testing.B) {
				entries, pages := 0, 0
				for b.Loop() {
					q := Query{Order: order, Limit: 50, Filter: Filter{Community: community}}
					page, err := store.List(b.Context(), q)
					if err != nil {
						b.Fatal(err)
					}
					entries += len(page.Entries)
					pages++
				}
				b.ReportMetric(float64(entries)/float64(pages), "entries/page")
			})
		}
	}
}

// BenchmarkReplay replays one dead letter after the other, in the parts of a bulk run.
func BenchmarkReplay(b *testing.B) {
	store := fill(b, b.N)
	b.ResetTimer()
	for cursor := ""; ; {
		part, err := store.Run(b.Context(), Bulk{Action: ActionReplay, Cursor: cursor})
		if err != nil || len(part.Failed) > 0 {
			b.Fatal(part, err)
		}
		if cursor = part.Next; cursor == "" {
			return
		}
	}
}
