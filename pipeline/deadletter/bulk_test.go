package deadletter

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/pipeline/contract"
)

// runAll makes a bulk run, part by part, and returns the parts.
func (b *bed) runAll(t *testing.T, run Bulk) (parts []Part) {
	t.Helper()
	for {
		part, err := b.letters.Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
		if run.Cursor = part.Next; part.Next == "" {
			return parts
		}
	}
}

// replayable is the header of a letter that can be replayed.
func replayable() map[string]string {
	return map[string]string{contract.HeaderSubject: "commands.interaction"}
}

// bodies are those of the messages in COMMANDS, oldest first.
func (b *bed) bodies(t *testing.T) (all []string) {
	t.Helper()
	for _, m := range b.stored(t, contract.StreamCommands) {
		all = append(all, string(m.Data))
	}
	return all
}

// A bulk replay stores what its filter selects once each, in order. It names what it cannot replay, and leaves alone what
// others are, and what has become a dead letter since it began.
func TestRunReplays(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var want, others []string
	for i := range 450 {
		body := letterOf("comm_1")
		if i%10 == 9 {
			body = letterOf("comm_2")
			others = append(others, body)
		} else {
			body = strings.Replace(body, `"e"`, fmt.Sprintf(`"e%d"`, i), 1)
			want = append(want, body)
		}
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), body)
	}
	cut := replayable()
	cut[contract.HeaderTruncated] = "1000000"
	refused := b.write(t, contract.StreamCommands, contract.ReasonPanic, cut, letterOf("comm_1"))

	run, progress := Bulk{Action: ActionReplay, Filter: Filter{Stream: contract.StreamCommands, Community: "comm_1"}}, 0.0
	parts, done := 0, 0
	for more := true; more; {
		part, err := b.letters.Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if part.Progress <= progress {
			t.Errorf("progress %v after %v", part.Progress, progress)
		}
		if part.Done > maxPart || part.Gone > 0 {
			t.Errorf("%+v", part)
		}
		parts, done, progress = parts+1, done+part.Done, part.Progress
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), letterOf("comm_1")) // too late
		if run.Cursor, more = part.Next, part.Next != ""; !more {
			if len(part.Failed) != 1 || part.Failed[0].Seq != refused || !strings.Contains(part.Failed[0].Error, "1000000 bytes") {
				t.Errorf("failed: %+v", part.Failed)
			}
		}
	}
	if parts < 3 || done != len(want) || progress != 1 {
		t.Errorf("%d parts have replayed %d of %d, progress %v", parts, done, len(want), progress)
	}
	if diff := cmp.Diff(want, b.bodies(t)); diff != "" {
		t.Errorf("replayed (-want +got)\n%s", diff)
	}
	left, err := b.letters.List(t.Context(), Query{Limit: MaxLimit})
	if err != nil || len(left.Entries) != len(others)+1+parts {
		t.Errorf("%d dead letters are left, %v", len(left.Entries), err)
	}
}

// Two operators who replay the same at once, and one who repeats a part, replay nothing twice.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const n = 300
	for i := range n {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for run := (Bulk{Action: ActionReplay}); ; {
				part, err := b.letters.Run(t.Context(), run)
				if err != nil || len(part.Failed) > 0 {
					t.Errorf("%+v, %v", part, err)
					return
				}
				if _, err := b.letters.Run(t.Context(), run); err != nil {
					t.Errorf("repeated: %v", err)
				}
				if run.Cursor = part.Next; part.Next == "" {
					return
				}
			}
		})
	}
	wg.Wait()
	times := map[string]int{}
	for _, body := range b.bodies(t) {
		times[body]++
	}
	for body, k := range times {
		if k != 1 {
			t.Errorf("%s is stored %d times", body, k)
		}
	}
	if left := b.stored(t, contract.StreamDeadLetter); len(times) != n || len(left) != 0 {
		t.Errorf("%d of %d are stored, %d are left", len(times), n, len(left))
	}
}

// A run over dead letters that are named does these, in this order.
func TestRunNamed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 450 {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), fmt.Sprint(i+1))
	}
	var seqs []uint64
	var want []string
	for seq := uint64(440); seq > 0; seq-- {
		if seq != 7 {
			seqs, want = append(seqs, seq), append(want, fmt.Sprint(seq))
		}
	}
	seqs = append(seqs, 440, 999) // again, and one that is not there
	var total Part
	for _, part := range b.runAll(t, Bulk{Action: ActionReplay, Seqs: seqs}) {
		total.Done, total.Gone, total.Progress = total.Done+part.Done, total.Gone+part.Gone, part.Progress
	}
	if diff := cmp.Diff(Part{Done: 439, Gone: 2, Progress: 1}, total); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, b.bodies(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, part := range b.runAll(t, Bulk{Action: ActionPurge, Seqs: []uint64{7, 441, 1}}) {
		if part.Done != 2 || part.Gone != 1 {
			t.Errorf("purged: %+v", part)
		}
	}
	left, err := b.letters.List(t.Context(), Query{})
	if err != nil || len(left.Entries) != 9 {
		t.Errorf("%d dead letters are left, %v, want 9", len(left.Entries), err)
	}
}

// A purge of a community deletes its dead letters and no others.
func TestRunPurgesCommunity(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 450 {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), letterOf(fmt.Sprint("comm_", i%2)))
	}
	done := 0
	for _, part := range b.runAll(t, Bulk{Action: ActionPurge, Filter: Filter{Community: "comm_1"}}) {
		done += part.Done
	}
	ones, err1 := b.letters.Count(t.Context(), Filter{Community: "comm_1"})
	zeros, err2 := b.letters.Count(t.Context(), Filter{Community: "comm_0"})
	if done != 225 || ones != 0 || zeros != 225 || err1 != nil || err2 != nil {
		t.Errorf("purged %d, left are %d and %d; %v, %v", done, ones, zeros, err1, err2)
	}
}

// What the next dead letter would meet too stops a run where it is, and the run can go on from there.
func TestRunStops(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	events := map[string]string{contract.HeaderSubject: "events.guild.join"}
	b.write(t, contract.StreamEvents, contract.ReasonPanic, events, "1")
	b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), "2")
	b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), "3")
	commands, err := b.js.Stream(t.Context(), contract.StreamCommands)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	for _, run := range []Bulk{{}, {Seqs: []uint64{1, 2, 3}}} { // the second finds that 1 is gone
		run.Action = ActionReplay
		part, err := b.letters.Run(t.Context(), run)
		if err != nil || part.Done+part.Gone != 1 || part.Next == "" {
			t.Fatalf("%+v: %+v, %v", run, part, err)
		}
		run.Cursor = part.Next
		if part, err := b.letters.Run(t.Context(), run); err == nil {
			t.Errorf("%+v: without COMMANDS: %+v", run, part)
		}
	}
	if left := b.stored(t, contract.StreamDeadLetter); len(left) < 2 {
		t.Errorf("%d are left", len(left))
	}
	if _, err := b.js.CreateStream(t.Context(), commands.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	b.runAll(t, Bulk{Action: ActionReplay})
	if diff := cmp.Diff([]string{"2", "3"}, b.bodies(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The mark of a replay is no dead letter: nobody reads, replays or deletes it as one.
func TestMarksAreNoLetters(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ack, err := b.js.Publish(t.Context(), markSubject("1:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.letters.Get(t.Context(), ack.Sequence); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if err := b.letters.Delete(t.Context(), ack.Sequence); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
	for _, action := range []Action{ActionReplay, ActionPurge} {
		part, err := b.letters.Run(t.Context(), Bulk{Action: action, Seqs: []uint64{ack.Sequence}})
		if diff := cmp.Diff(Part{Gone: 1, Failed: []Failure{}, Progress: 1}, part); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", action, err, diff)
		}
	}
	if n := len(b.stored(t, contract.StreamDeadLetter)); n != 1 {
		t.Errorf("%d marks are left, want 1", n)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for range 3 {
		b.write(t, contract.StreamCommands, contract.ReasonPanic, replayable(), ping)
	}
	for _, tt := range []struct {
		run   Bulk
		field string
	}{
		{Bulk{Seqs: make([]uint64, MaxSeqs+1)}, "seqs"},
		{Bulk{Filter: Filter{Community: "*"}}, "community"},
		{Bulk{Filter: Filter{Stream: ">"}}, "stream"},
		{Bulk{Cursor: "x"}, "cursor"},
		{Bulk{Cursor: "1.2"}, "cursor"},
		{Bulk{Cursor: "1.2.3 "}, "cursor"},
		{Bulk{Cursor: "1.4.3"}, "cursor"},
		{Bulk{Cursor: "1.2.18446744073709551615"}, "cursor"},
		{Bulk{Cursor: "1.2.4"}, "cursor"},
		{Bulk{Cursor: "-1.2.3"}, "cursor"},
		{Bulk{Seqs: []uint64{1, 2}, Cursor: "0.1.2"}, "cursor"},
		{Bulk{Seqs: []uint64{1, 2}, Cursor: "0.2.1"}, "cursor"},
	} {
		tt.run.Action = ActionReplay
		_, err := b.letters.Run(t.Context(), tt.run)
		var got *QueryError
		if !errors.As(err, &got) || got.Field != tt.field {
			t.Errorf("%+v: %v", tt.run.Cursor, err)
		}
	}
	if n := len(b.stored(t, contract.StreamDeadLetter)); n != 3 {
		t.Errorf("%d dead letters are left, want 3", n)
	}
}
