package deadletter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// pages are the sequences of all pages of a query.
func (b *bed) pages(t *testing.T, q Query) (pages [][]uint64) {
	t.Helper()
	for more := true; more; {
		page, err := b.letters.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, sequences(page))
		q.Cursor, more = page.Next, page.Next > 0
	}
	return pages
}

// letterOf is a body of a community.
func letterOf(community string) string {
	return fmt.Sprintf(`{"event_id":"e","event_type":"interaction.create","guild_id":%q,"data":{"command_name":"ping"}}`, community)
}

// scatter stores n letters of three streams, three reasons and three communities, and deletes some of them again.
func (b *bed) scatter(t *testing.T, n int, random *rand.Rand) {
	t.Helper()
	letters, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[string]string{
		contract.StreamCommands: "commands.interaction", contract.StreamEvents: "events.guild.join",
		contract.StreamEligibility: "eligibility.check.single",
	}
	for range n {
		stream := contract.Streams()[random.IntN(3)]
		seq := b.write(t, stream, contract.Reasons()[random.IntN(3)], map[string]string{contract.HeaderSubject: subjects[stream]},
			letterOf(fmt.Sprint("comm_", random.IntN(3))))
		if random.IntN(5) == 0 {
			if err := letters.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(10) == 0 { // the mark of a replay, which no list shows
			if _, err := b.js.Publish(t.Context(), markSubject("1:1"), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The pages of any query, one after the other, are what it selects, in its order, also where each page has only the
// time to look at a few.
func TestListSelects(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	b := newBed(t)
	b.scatter(t, 400, random)
	stored := b.stored(t, contract.StreamDeadLetter)
	for i := range 48 {
		f := Filter{
			Stream: pick(random, "", contract.StreamCommands, contract.StreamEvents), Reason: pick(random, "", contract.ReasonMalformed),
			Community: pick(random, "", "comm_1", "comm_2", "comm_none"),
		}
		var want []uint64
		for _, m := range stored {
			e := newEntry(m)
			if isLetter(m.Subject) && (f.Stream == "" || e.Stream == f.Stream) && (f.Reason == "" || e.Reason == f.Reason) &&
				(f.Community == "" || e.Community == f.Community) {
				want = append(want, m.Sequence)
			}
		}
		q := Query{Filter: f, Order: pick(random, OldestFirst, NewestFirst), Limit: 1 + random.IntN(60)}
		if q.Order == NewestFirst {
			slices.Reverse(want)
		}
		if b.letters.lookTime = testserver.Patience; i%8 == 0 {
			b.letters.lookTime = 0
		}
		pages := b.pages(t, q)
		if diff := cmp.Diff(want, slices.Concat(pages...)); diff != "" {
			t.Fatalf("%+v (-want +got)\n%s", q, diff)
		}
		if b.letters.lookTime == 0 {
			continue
		}
		for _, page := range pages[:len(pages)-1] {
			if len(page) != q.Limit {
				t.Errorf("%+v: a page of %d that is not the last", q, len(page))
			}
		}
		if n, err := b.letters.Count(t.Context(), f); err != nil || n != uint64(len(want)) {
			t.Errorf("%+v: counted %d, %v, want %d", f, n, err, len(want))
		}
	}
	b.noConsumers(t)
}

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }

// noConsumers: a list leaves nothing behind.
func (b *bed) noConsumers(t *testing.T) {
	t.Helper()
	letters, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	if n := letters.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("DEADLETTER has %d consumers", n)
	}
}

// The newest first, a page is bounded where many dead letters lie behind few: a stretch that is too long is looked at
// in shorter ones.
func TestListNewestOfMany(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, stream := range []string{contract.StreamEvents, contract.StreamCommands} {
		for range dense + 5_000 {
			if _, err := b.js.PublishAsync(contract.DeadLetterSubject(stream, contract.ReasonPanic), nil, jetstream.WithStallWait(testserver.Patience)); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-b.js.PublishAsyncComplete()
	page, err := b.letters.List(t.Context(), Query{Filter: Filter{Stream: contract.StreamEvents}, Order: NewestFirst, Limit: 2})
	if diff := cmp.Diff([]uint64{dense + 5_000, dense + 4_999}, sequences(page)); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// TestInvariantBoundedNewestPage checks I6: a page is bounded by bytes too, the newest first.
func TestInvariantBoundedNewestPage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	large := make([]byte, 900<<10)
	for range 50 {
		b.write(t, contract.StreamCommands, contract.ReasonMalformed, nil, string(large))
	}
	for want := range slices.Chunk([]uint64{50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33}, 9) {
		page, err := b.letters.List(t.Context(), Query{Order: NewestFirst, Cursor: want[0] + 1})
		if diff := cmp.Diff(want, sequences(page)); err != nil || diff != "" || page.Next != want[8] {
			t.Errorf("next %d, %v (-want +got)\n%s", page.Next, err, diff)
		}
	}
}

// What the consumer of a walk does not deliver, the stream's leader does: after the consumer is gone, and where another
// client took some.
func TestWalkMissesNothing(t *testing.T) {
	t.Parallel()
	const n = 50
	b := newBed(t)
	for range n {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, nil, "")
	}
	letters, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	for name, disturb := range map[string]func(*jetstream.ConsumerInfo) error{
		"deleted": func(c *jetstream.ConsumerInfo) error { return letters.DeleteConsumer(t.Context(), c.Name) },
		"robbed": func(c *jetstream.ConsumerInfo) error {
			_, err := b.js.Conn().Request(jetstream.DefaultAPIPrefix+"CONSUMER.MSG.NEXT."+c.Stream+"."+c.Name, nil, testserver.Patience)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []uint64
			w := walk{store: b.letters, letters: letters, subject: anyLetter, next: 1, to: n, batch: 7, visit: func(m *jetstream.RawStreamMsg) bool {
				if seen = append(seen, m.Sequence); len(seen) == 3 || len(seen) == 15 {
					for c := range letters.ListConsumers(t.Context()).Info() {
						if err := disturb(c); err != nil {
							t.Error(err)
						}
					}
				}
				return true
			}}
			if err := w.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := make([]uint64, n)
			for i := range want {
				want[i] = uint64(i) + 1
			}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A dead letter that looks like the answer of a server is a dead letter.
func TestListStatus(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, status := range []string{"404", "408", "409", "503"} {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{"Status": status, "Description": "Batch Completed"}, "")
	}
	if diff := cmp.Diff([][]uint64{{4, 3}, {2, 1}}, b.pages(t, Query{Order: NewestFirst, Limit: 2})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A stretch is given up at its bound: it does not hold more.
func TestStretchIsBounded(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*jetstream.RawStreamMsg{"messages": {}, "bytes": {Data: make([]byte, 1<<20)}} {
		s := stretched{filter: &Filter{}, room: 10, bytes: maxPage, first: true}
		for s.visit(m) {
		}
		if s.seen > dense+1 || s.looked > denseBytes+1<<20 || len(s.entries) > 10 || s.size > maxPage || !s.tooMany() {
			t.Errorf("%s: %d messages, %d bytes, %d entries of %d bytes", name, s.seen, s.looked, len(s.entries), s.size)
		}
	}
}

// A page ends when its time is over, with a cursor, although nothing was found.
func TestListLooksForAMoment(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.letters.lookTime = 0
	for range 2 * stretch {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), letterOf("comm_1"))
	}
	for _, order := range []Order{OldestFirst, NewestFirst} {
		q := Query{Filter: Filter{Community: "comm_2"}, Order: order, Limit: 10}
		page, err := b.letters.List(t.Context(), q)
		if err != nil || len(page.Entries) > 0 || page.Next == 0 {
			t.Errorf("%s: %d entries, next %d, %v", order, len(page.Entries), page.Next, err)
		}
		if pages := b.pages(t, q); len(slices.Concat(pages...)) > 0 {
			t.Errorf("%s: %v", order, pages)
		}
	}
}
