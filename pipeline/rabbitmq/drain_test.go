package rabbitmq

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, testserver.SharedRabbitMQ(t), kind)
			b.send(t, commands(1_200)...)
			counts, err := Drain(t.Context(), b.options())
			if err != nil {
				t.Fatal(err)
			}
			// A quorum queue may deliver again what was acknowledged just before the channel was closed.
			if again := counts.Redelivered; counts.Stored != 1_200 || counts.Duplicates != again || counts.Delivered != 1_200+again ||
				counts.Left != 0 || counts.DeadLettered != 0 || counts.Reconnects != 0 || !counts.Match() {
				t.Errorf("%+v", counts)
			}
			for i, m := range b.stored(t, contract.StreamCommands) {
				if want := fmt.Sprintf("comm_%d/e%d", i%7, i); m.Header.Get(jetstream.MsgIDHeader) != want || string(m.Data) != string(command(i).Body) {
					t.Fatalf("message %d is %s with %q, want %s", i, m.Header.Get(jetstream.MsgIDHeader), m.Data, want)
				}
			}
			// What comes again is known.
			b.send(t, commands(3)...)
			if counts, err = Drain(t.Context(), b.options()); err != nil || counts.Duplicates < 3 || counts.Stored != 0 || !counts.Match() {
				t.Errorf("again: %+v, %v", counts, err)
			}
		})
	}
}

// Poison is in the list of dead letters, and does not come again; what is around it is stored.
func TestPoisonBecomesDeadLetters(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	large := command(3)
	large.Body = fmt.Appendf(nil, `{"event_id":"large","event_type":"x","guild_id":"comm_3","data":{"x":%q}}`, strings.Repeat("x", int(b.nc.MaxPayload())))
	b.send(t,
		command(1),
		amqp.Publishing{Body: []byte("not JSON"), MessageId: "m1", Headers: amqp.Table{"tries": int32(3)}},
		amqp.Publishing{Body: []byte("not JSON")}, amqp.Publishing{Body: []byte("not JSON")}, // two messages, and not one
		amqp.Publishing{Body: []byte(`{"event_id":"e","event_type":"x"}`)},
		amqp.Publishing{Body: []byte(`{"event_type":"x","guild_id":"comm_1"}`)}, // no event ID
		large,
		command(2),
	)
	counts, err := Drain(t.Context(), b.options())
	if err != nil || counts.Stored != 2 || counts.DeadLettered != 6 || counts.Left != 0 || !counts.Match() {
		t.Fatalf("%+v, %v", counts, err)
	}
	page, err := deadletter.New(b.js).List(t.Context(), deadletter.Query{
		Filter: deadletter.Filter{Stream: contract.StreamCommands}, Order: deadletter.OldestFirst, Limit: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range page.Entries {
		got = append(got, fmt.Sprintf("%s %s %s", e.Reason, e.EventID, e.Community))
	}
	want := []string{"malformed  ", "malformed  ", "malformed  ", "no_community e ", "malformed  comm_1", "malformed large "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	first, err := deadletter.New(b.js).Get(t.Context(), page.Entries[0].Seq)
	if err != nil || first.Body != "not JSON" || first.Headers["Amqp-Queue"][0] != b.queue || first.Headers["Amqp-Header-tries"][0] != "3" {
		t.Errorf("%+v, %v", first, err)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(10)...)
	o := b.options()
	o.Limit, o.Prefetch = 4, 3
	counts, err := Drain(t.Context(), o)
	if err != nil || counts.Acked != 4 || counts.Stored != 4 || counts.Left != 6 {
		t.Errorf("%+v, %v", counts, err)
	}
	if n := b.ready(t); n != 6 {
		t.Errorf("%d are left, want 6", n)
	}
}

// A Drain that follows goes on when the queue was empty, and ends in order.
func TestFollow(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	o := b.options()
	o.Follow = true
	r := start(t, o)
	for i := range 3 {
		b.send(t, command(i))
		testserver.Eventually(t, "the message is stored", func() bool { return len(b.stored(t, contract.StreamCommands)) == i+1 })
	}
	r.stop()
	if counts := r.wait(t); counts.Acked != 3 || counts.Left != 0 || !counts.Match() {
		t.Errorf("%+v", counts)
	}
}

func TestWhatCannotBegin(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	for name, c := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"no queue":       {func(o *Options) { o.Queue = "nobody" }, "NOT_FOUND - no queue 'nobody'"},
		"wrong password": {func(o *Options) { o.Server.URL = strings.Replace(o.Server.URL, "guest@", "hunter2@", 1) }, "username or password not allowed"},
		"nobody there":   {func(o *Options) { o.Server.URL = "amqp://guest:hunter2@127.0.0.1:1/" }, "connection refused"},
		"no URL":         {func(o *Options) { o.Server.URL = "amqp://guest:hun/ter2@host" }, "expected a URL such as"},
		"no destination": {func(o *Options) { o.To = "moon" }, `field To is "moon": expected one of commands, events, eligibility`},
		"prefetch":       {func(o *Options) { o.Prefetch = 1_001 }, "field Prefetch is 1001"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := b.options()
			c.change(&o)
			_, err := Drain(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hun") {
				t.Errorf("%v, want %s", err, c.says)
			}
		})
	}
}
