package deadletter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func TestGet(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{
		contract.HeaderSubject: "commands.interaction", contract.HeaderAttempts: "3", "X-Mine": "kept",
	}, ping)
	got, err := b.letters.Get(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	if got.Seq != seq || got.Attempts != 3 || got.Community != "comm_007" || got.Body != ping {
		t.Errorf("%+v", got)
	}
	want := map[string][]string{
		contract.HeaderStream: {"COMMANDS"}, contract.HeaderReason: {"panic"}, contract.HeaderSubject: {"commands.interaction"},
		contract.HeaderAttempts: {"3"}, "X-Mine": {"kept"},
	}
	if diff := cmp.Diff(want, got.Headers); diff != "" {
		t.Errorf("headers (-want +got)\n%s", diff)
	}
	for _, none := range []uint64{0, seq + 1} {
		if _, err := b.letters.Get(t.Context(), none); !errors.Is(err, ErrNotFound) {
			t.Errorf("%d: %v", none, err)
		}
	}
}

// TestPurge deletes what Count has counted and List has listed, and no more.
func TestPurge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stream string
		reason contract.Reason
		left   []uint64
	}{
		{"all", "", "", nil},
		{"stream", contract.StreamEvents, "", []uint64{1, 3, 4}},
		{"reason", "", contract.ReasonPanic, []uint64{3, 5}},
		{"both", contract.StreamCommands, contract.ReasonPanic, []uint64{2, 3, 4, 5}},
		{"none", contract.StreamCommands, contract.ReasonNoCommunity, []uint64{1, 2, 3, 4, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.write(t, contract.StreamCommands, contract.ReasonPanic, nil, "")      // 1
			b.write(t, contract.StreamEvents, contract.ReasonPanic, nil, "")        // 2
			b.write(t, contract.StreamCommands, contract.ReasonMalformed, nil, "")  // 3
			b.write(t, contract.StreamEligibility, contract.ReasonPanic, nil, "")   // 4
			b.write(t, contract.StreamEvents, contract.ReasonHandlerError, nil, "") // 5
			want, f := uint64(5-len(tt.left)), Filter{Stream: tt.stream, Reason: tt.reason}
			listed, err := b.letters.List(t.Context(), Query{Filter: f})
			if err != nil || uint64(len(listed.Entries)) != want {
				t.Errorf("listed %v, %v; want %d", sequences(listed), err, want)
			}
			if n, err := b.letters.Count(t.Context(), f); n != want || err != nil {
				t.Errorf("counted %d, %v; want %d", n, err, want)
			}
			if n := len(b.stored(t, contract.StreamDeadLetter)); n != 5 {
				t.Errorf("counting left %d of 5", n)
			}
			if p, err := b.letters.Run(t.Context(), Bulk{Action: ActionPurge, Filter: f}); p.Done != int(want) || p.Next != "" || err != nil {
				t.Errorf("purged %+v, %v; want %d", p, err, want)
			}
			left, err := b.letters.List(t.Context(), Query{})
			if diff := cmp.Diff(tt.left, sequences(left)); err != nil || diff != "" {
				t.Errorf("%v, left (-want +got)\n%s", err, diff)
			}
		})
	}
}

// Who asks may leave while NATS works. What NATS was told to do is still waited for and reported, so that the audit log
// has it.
func TestChangesOutlastTheirCaller(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	proxy := testserver.Proxy(t, strings.TrimPrefix(b.server.URL(), "nats://"))
	nc, err := nats.Connect("nats://" + proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	letters := New(testserver.JetStream(t, nc))
	watcher := b.server.Connect(t)
	for request, run := range map[string]Bulk{
		"$JS.API.STREAM.PURGE.DEADLETTER":      {Action: ActionPurge},
		"$JS.API.STREAM.MSG.DELETE.DEADLETTER": {Action: ActionPurge, Seqs: []uint64{0}},
		"commands.interaction":                 {Action: ActionReplay, Seqs: []uint64{0}},
	} {
		left := false // while it ran
		for delay := 50 * time.Millisecond; !left && delay < testserver.Patience; delay *= 2 {
			proxy.Delay(delay) // the answer comes after the request was seen here, unless the machine is slower
			seq := b.write(t, contract.StreamCommands, contract.ReasonPanic, map[string]string{contract.HeaderSubject: "commands.interaction"}, ping)
			if len(run.Seqs) > 0 {
				run.Seqs[0] = seq
			}
			ctx, leave := context.WithCancel(t.Context())
			seen, err := watcher.Subscribe(request, func(*nats.Msg) { leave() })
			if err != nil {
				t.Fatal(err)
			}
			if err := watcher.Flush(); err != nil {
				t.Fatal(err)
			}
			part, err := letters.Run(ctx, run)
			left = ctx.Err() != nil
			if err != nil || part.Done != 1 || len(b.stored(t, contract.StreamDeadLetter)) != 0 {
				t.Errorf("%s: %+v, %v, left while it ran: %t", request, part, err, left)
			}
			if err := seen.Unsubscribe(); err != nil {
				t.Fatal(err)
			}
			leave()
		}
		if !left {
			t.Errorf("%s: its caller has never left while it ran", request)
		}
	}
}

// TestPurgeRefuses a filter that would be another than the one that was meant.
func TestPurgeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field  string
		filter Filter
	}{
		{"stream", Filter{Stream: "*"}},
		{"stream", Filter{Stream: "commands"}},
		{"stream", Filter{Stream: contract.StreamInternal}},
		{"reason", Filter{Reason: ">"}},
		{"reason", Filter{Reason: "bored"}},
		{"community", Filter{Community: "*"}},
	} {
		var counted, purged *QueryError
		_, err := New(nil).Count(t.Context(), tt.filter)
		if !errors.As(err, &counted) || counted.Field != tt.field {
			t.Errorf("%+v: count: %v", tt, err)
		}
		_, err = New(nil).Run(t.Context(), Bulk{Action: ActionPurge, Filter: tt.filter})
		if !errors.As(err, &purged) || purged.Field != tt.field {
			t.Errorf("%+v: purge: %v", tt, err)
		}
	}
}
