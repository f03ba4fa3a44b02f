package pipeline

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// takeOverflowsRoom deletes OVERFLOW, and takes its place until the returned function is called.
func (f *flooded) takeOverflowsRoom() (giveBack func()) {
	f.t.Helper()
	testserver.Eventually(f.t, "OVERFLOW is gone, and so is its room", func() bool {
		if err := f.js.DeleteStream(f.t.Context(), contract.StreamOverflow); err != nil && !isGone(err) {
			f.t.Fatal(err)
		}
		_, err := f.js.CreateStream(f.t.Context(), jetstream.StreamConfig{
			Name: "OTHER", Subjects: []string{"other"}, Storage: jetstream.MemoryStorage, MaxBytes: 1 << 30,
		})
		return err == nil
	})
	return func() {
		f.t.Helper()
		if err := f.js.DeleteStream(f.t.Context(), "OTHER"); err != nil {
			f.t.Fatal(err)
		}
	}
}

// served fails the test unless n commands of big are answered, one after the other.
func (f *flooded) served(n int) {
	f.t.Helper()
	for i := range n {
		if o := f.outcome(f.publish("commands.interaction", command("big", "work", strconv.Itoa(i)))); o.Status != contract.StatusOK {
			f.t.Errorf("%+v", o)
		}
	}
}

func (f *flooded) awaitOverflow() {
	f.t.Helper()
	testserver.Eventually(f.t, "OVERFLOW is made again", func() bool {
		_, err := f.js.Stream(f.t.Context(), contract.StreamOverflow)
		return err == nil
	})
}

// While OVERFLOW cannot be made, the log says once that a community gets no lane, however often that is tried. Once it can
// be made, the community gets one, and the log says that too. So it is where its marker is found, as while another process
// tries the same.
func TestNoLaneIsLoggedOnce(t *testing.T) {
	t.Parallel()
	for name, marked := range map[string]bool{"without a marker": false, "with a marker": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logsNoLaneOnce(t, marked)
		})
	}
}

func logsNoLaneOnce(t *testing.T, marked bool) {
	t.Helper()
	const n, says, over = 2_000, "gets no lane", "get lanes again"
	f := newFloodedOn(t, testserver.NATS(t, func(o *server.Options) { o.JetStreamMaxMemory = 9<<30 + 1<<28 })) // as the streams reserve
	log := f.logTo()
	if marked {
		f.ensure()
		f.openLane("big")
	}
	f.start()
	giveBack := f.takeOverflowsRoom()
	f.flood(0, n)
	testserver.Eventually(t, "the log says so", func() bool { return log.Count(says) > 0 })
	since := time.Now()
	testserver.Eventually(t, "it has been tried again", func() bool { return time.Since(since) > 3*lanePoll })
	if times := log.Count(says); times != 1 {
		t.Errorf("logged %d times:\n%s", times, log)
	}
	giveBack()
	f.awaitLane(n)
	testserver.Eventually(t, "the log says that it is over", func() bool { return log.Count(over) == 1 })
	f.open()
	testserver.Eventually(t, "all are handled", func() bool { return f.count() == n })
}

// While OVERFLOW exists, but nobody takes its messages, what waits for it is not published all the time: once a second
// at most, and not at all while JetStream does not answer for it either, which the log says.
func TestLaneThatTakesNothingIsTriedRarely(t *testing.T) {
	t.Parallel()
	const n, lane = 2_000, "overflow.command.big.00"
	for name, lost := range map[string][]string{
		"JetStream makes its consumers": {lane},
		"nobody answers for it":         {lane, "$JS.API.STREAM.INFO.OVERFLOW", "$JS.API.CONSUMER.CREATE.OVERFLOW.*.*.*.*.*"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlooded(t)
			log := f.logTo()
			f.stayInLane("big")
			p, _ := f.start()
			for _, subject := range lost {
				f.server.LoseMessages(subject)
			}
			before := time.Now()
			f.flood(0, n)
			testserver.Eventually(t, "it has been tried again", func() bool { return time.Since(before) > 3*lanePoll })
			p.admitted.mu.Lock()
			put := p.admitted.arrivals
			p.admitted.mu.Unlock()
			tries := 2 + int(time.Since(before)/lanePoll) // the first one, and one a second
			if len(lost) > 1 {
				tries = 2 // before JetStream is asked
				if times := log.Count("gets no lane"); times != 1 {
					t.Errorf("the log says %d times that there is no lane, want once", times)
				}
			}
			if put < n || put > uint64(n*tries) {
				t.Errorf("%d messages were put into the queue %d times, want %d at most", n, put, n*tries)
			}
			f.open()
			testserver.Eventually(t, "all are handled", func() bool { return f.count() == n })
		})
	}
}

// Messages for a lane go on while OVERFLOW is missing, and while somebody tries to make it, which can take long.
func TestMissingOverflowIsMadeBesideMessages(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	f.stayInLane("big")
	f.open()
	p, _ := f.start()
	p.ensurer.mu.Lock() // as while it tries
	if err := f.js.DeleteStream(t.Context(), contract.StreamOverflow); err != nil {
		t.Fatal(err)
	}
	f.served(10)
	p.ensurer.mu.Unlock()
	f.awaitOverflow()
	f.wantOnce(10)
}

// A lane that stands still does not take the process out of service: the log says what is wrong.
func TestReadyWithoutALane(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	log := f.logTo()
	f.stayInLane("big")
	f.open()
	p, _ := f.start()
	stream, err := f.js.Stream(t.Context(), contract.StreamOverflow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.PauseConsumer(t.Context(), contract.LaneConsumer(0), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.flood(0, 10)
	const fault = "lanes cannot be read: what waits there is not handled"
	testserver.Eventually(t, "the log says so", func() bool {
		if err := p.Ready(); err != nil {
			t.Fatalf("not ready: %v", err)
		}
		return log.Count(fault) > 0
	})
	if _, err := stream.ResumeConsumer(t.Context(), contract.LaneConsumer(0)); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the log says that it is over", func() bool { return log.Count("lanes can be read again") == 1 })
	if times := log.Count(fault); times != 1 || log.Count("not ready") > 0 {
		t.Errorf("logged %d times:\n%s", times, log)
	}
	f.wantOnce(10)
}

// Nobody publishes events straight into a lane, so no lane of events says so.
func TestDirect(t *testing.T) {
	t.Parallel()
	unlimited := tenant.Resolve("big", tenant.Documents{Config: &tenant.Config{Tier: tenant.Enterprise}, Tiers: new(tenant.Tiers)}, time.Time{})
	for kind := range contract.Kind(contract.NumKinds) {
		if got, want := goesDirect(kind, unlimited), kind != contract.KindEvent; got != want {
			t.Errorf("%s of an unlimited community: %t, want %t", kind, got, want)
		}
	}
	if goesDirect(contract.KindCommand, tenant.Resolve("small", tenant.Documents{Config: &tenant.Config{Tier: tenant.Free}, Tiers: new(tenant.Tiers)}, time.Time{})) {
		t.Error("commands of a limited community are direct")
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	var tr trouble
	if tr.over() {
		t.Error("there was none")
	}
	for _, step := range []struct {
		err  string
		want bool
	}{{"a", true}, {"a", false}, {"b", true}, {"a", false}, {"b", false}} {
		if got := tr.isNew(errors.New(step.err)); got != step.want {
			t.Errorf("%s is new: %t", step.err, got)
		}
	}
	if !tr.over() || tr.over() || !tr.isNew(errors.New("a")) {
		t.Error("it is not over once")
	}
	for i := range 2 * maxTroubles {
		tr.isNew(fmt.Errorf("error %d", i))
	}
	if len(tr.known) != maxTroubles {
		t.Errorf("%d errors are remembered", len(tr.known))
	}
}
