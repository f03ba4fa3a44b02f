package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

const (
	saysAbsent = `msg="no handler answers`
	saysBack   = `msg="a handler answers again"`
)

// The log says once that no handler answers at a subject, however often its messages are tried, and once that one is
// back.
func TestAbsentHandlerIsLogged(t *testing.T) {
	t.Parallel()
	b, log := setup(t), new(testserver.Output)
	b.options = func(o *Options) { o.Logger, o.HandlerConcurrency = log.Logger(), 2 }
	b.start()
	send := func(id string) { b.send("commands.interaction", command("c1", "stats", id)) }
	want := func(absent, back int) {
		t.Helper()
		const subject = " subject=handlers.command.stats\n"
		testserver.Eventually(t, fmt.Sprintf("the log says that a handler is absent %d times, and back %d times", absent, back), func() bool {
			var gone, here int
			for line := range strings.Lines(log.String()) {
				if strings.HasSuffix(line, subject) && strings.Contains(line, "level=WARN "+saysAbsent) {
					gone++
				}
				if strings.HasSuffix(line, subject) && strings.Contains(line, "level=INFO "+saysBack) {
					here++
				}
			}
			if gone > absent || here > back {
				t.Fatal(log.String())
			}
			return gone == absent && here == back
		})
	}
	start := func() (stop func()) {
		service, err := micro.AddService(b.nc, micro.Config{Name: "stats", Version: "1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		err = service.AddEndpoint("stats", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte(`1`)) }),
			micro.WithEndpointSubject("handlers.command.stats"))
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := service.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 }

	send("e1")
	testserver.Eventually(t, "it was tried again and again", func() bool {
		return b.counted("arrakis_retries_total", "way", "nak") > 3
	})
	want(1, 0)
	stop := start()
	testserver.Eventually(t, "e1 is handled", done)
	send("e2")
	testserver.Eventually(t, "e2 is handled", done)
	want(1, 1)
	stop()
	send("e3")
	want(2, 1)
	start()
	want(2, 2)
}

// Names that senders make up neither flood the log nor fill the memory, and do not hide that a known handler is away.
func TestMadeUpNamesOfAbsentHandlers(t *testing.T) {
	t.Parallel()
	log := new(testserver.Output)
	known := newNames()
	a := newAbsent(known, log.Logger())
	now := time.Now()
	missing := func(name string) {
		d := &delivery{}
		d.Kind, d.Command = contract.KindCommand, name
		a.missing(t.Context(), d, now)
	}
	warnings := func() int { return log.Count(saysAbsent) }
	for minute := range 2 {
		for i := range 3 * maxAbsent {
			missing(fmt.Sprintf("made_up_%d_%d", minute, i))
		}
		if n, want := warnings(), (minute+1)*maxUnknownAbsent; n != want {
			t.Errorf("%d warnings of made-up names in %d minutes, want %d", n, minute+1, want)
		}
		now = now.Add(absentInterval)
	}
	for i := range maxNames {
		name := fmt.Sprint("known", i)
		known.add(contract.KindCommand, name)
		missing(name)
		missing(name)
	}
	if n, want := warnings(), 2*maxUnknownAbsent+maxNames; n != want {
		t.Errorf("%d warnings, want %d: one for each known name too", n, want)
	}
	for minute := range 2 * maxAbsent {
		now = now.Add(absentInterval)
		missing(fmt.Sprint("made_up", minute))
	}
	if n := a.subjects.Len(); n > maxAbsent {
		t.Errorf("%d subjects are remembered, want %d at most", n, maxAbsent)
	}
}

// A handler that shuts down still answers what it was sent before. That does not mean that it is back.
func TestLastAnswersOfAHandler(t *testing.T) {
	t.Parallel()
	log := new(testserver.Output)
	a := newAbsent(newNames(), log.Logger())
	now := time.Now()
	d := &delivery{}
	d.Kind, d.Command = contract.KindCommand, "stats"
	a.missing(t.Context(), d, now)
	a.answered(t.Context(), d, now.Add(-time.Second))
	if strings.Contains(log.String(), saysBack) {
		t.Errorf("an answer to an earlier message counts:\n%s", log.String())
	}
	a.answered(t.Context(), d, now.Add(time.Millisecond))
	if !strings.Contains(log.String(), saysBack) || a.subjects.Len() != 0 {
		t.Errorf("an answer to a later message does not count; %d absent:\n%s", a.subjects.Len(), log.String())
	}
}

// Answers of a known name cost no lock while its handler is there, whatever other names senders have mistyped. Once its
// handler was absent, its next answer says that it is back.
func TestAnswersBesideAMistypedName(t *testing.T) {
	t.Parallel()
	log := new(testserver.Output)
	known := newNames()
	a := newAbsent(known, log.Logger())
	now := time.Now()
	typo, d := &delivery{}, &delivery{}
	typo.Kind, typo.Command = contract.KindCommand, "stast"
	d.Kind, d.Command = contract.KindCommand, "stats"

	// It was missed before its name was known, and its first answer is to a message that was sent before.
	a.missing(t.Context(), typo, now)
	a.missing(t.Context(), d, now)
	known.add(d.Kind, d.Command)
	a.answered(t.Context(), d, now.Add(-time.Second))
	_, d.known = known.subject(d.Kind, d.Command)
	for range 2 {
		a.answered(t.Context(), d, now.Add(time.Second))
		if n := log.Count(saysBack); n != 1 {
			t.Fatalf("the log says %d times that a handler is back, want once:\n%s", n, log.String())
		}
	}
	a.mu.Lock()
	known.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.answered(t.Context(), d, now.Add(2*time.Second))
	}()
	select {
	case <-done:
	case <-time.After(testserver.Patience):
		t.Error("an answer waits for a lock")
	}
	known.mu.Unlock()
	a.mu.Unlock()
	<-done

	now = now.Add(time.Minute)
	a.missing(t.Context(), d, now)
	a.answered(t.Context(), d, now.Add(time.Second))
	if n := log.Count(saysBack); n != 2 {
		t.Errorf("the log says %d times that a handler is back, want twice:\n%s", n, log.String())
	}
}
