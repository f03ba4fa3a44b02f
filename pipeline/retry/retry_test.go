package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

// bed is a Writer that runs on a NATS server with the streams of arrakis.
type bed struct {
	*testing.T
	w      *Writer
	nc     *nats.Conn
	js     jetstream.JetStream
	server *testserver.NATSServer
}

func newBed(t *testing.T) *bed {
	t.Helper()
	server := testserver.NATS(t)
	nc := server.Connect(t, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	b := &bed{T: t, nc: nc, js: testserver.JetStream(t, nc), server: server}
	if err := streams.Ensure(t.Context(), b.js, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a new Writer until close or the test ends it.
func (b *bed) run() (closeIt func()) {
	b.Helper()
	return b.runLogging(b.Output())
}

// runLogging is run with a log of the Writer's own.
func (b *bed) runLogging(log io.Writer) (closeIt func()) {
	b.Helper()
	b.w = New(b.js, slog.New(slog.NewTextHandler(log, nil)))
	var running sync.WaitGroup
	running.Go(func() { b.w.Run(context.Background()) })
	closeIt = func() { b.w.Close(); running.Wait() }
	b.Cleanup(closeIt)
	return closeIt
}

var stored = time.Unix(1_700_000_000, 42)

// message is message n, to come at a time.
func message(n uint64, at time.Time, done func(error)) Message {
	return Message{
		ID: ID{"COMMANDS", n, stored}, Subject: "commands.interaction.c", At: at,
		Header: nats.Header{"Own": {fmt.Sprint(n)}}, Body: fmt.Append(nil, "body ", n), Done: done,
	}
}

// put stores a message and returns how that ended.
func (b *bed) put(m Message) error {
	b.Helper()
	ended := make(chan error, 1)
	m.Done = func(err error) { ended <- err }
	if !b.w.Put(m) {
		b.Fatal("no room")
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(testserver.Patience):
		b.Fatal("Done was not called")
		return nil
	}
}

func (b *bed) info() *jetstream.StreamInfo {
	b.Helper()
	s, err := b.js.Stream(b.Context(), contract.StreamRetry)
	if err != nil {
		b.Fatal(err)
	}
	info, err := s.Info(b.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		b.Fatal(err)
	}
	return info
}

// next waits for the next message of the consumer.
func (b *bed) next() jetstream.Msg {
	b.Helper()
	c, err := b.js.Consumer(b.Context(), contract.StreamRetry, contract.ConsumerRetry)
	if err != nil {
		b.Fatal(err)
	}
	msg, err := c.Next(jetstream.FetchMaxWait(testserver.Patience))
	if err != nil {
		b.Fatal(err)
	}
	return msg
}

// A message comes when its time has come, and not before, with its headers and body, and without its schedule.
func TestMessageComesInTime(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run()
	at := time.Now().Add(1200 * time.Millisecond)
	if err := b.put(message(1, at, nil)); err != nil {
		t.Fatal(err)
	}
	subjects := b.info().State.Subjects
	if time.Now().Before(at) && (subjects["retry.COMMANDS.1.1700000000000000042"] != 1 || len(subjects) != 1) {
		t.Errorf("stored at %v", subjects)
	}
	msg := b.next()
	if now := time.Now(); now.Before(at) {
		t.Errorf("it came %v early", at.Sub(now))
	}
	if msg.Subject() != "again.commands.interaction.c" || string(msg.Data()) != "body 1" || msg.Headers().Get("Own") != "1" {
		t.Errorf("%s %s %v", msg.Subject(), msg.Data(), msg.Headers())
	}
	if msg.Headers().Get(jetstream.ScheduleHeader) != "" || msg.Headers().Get(jetstream.ExpectedStreamHeader) != "" {
		t.Errorf("headers %v", msg.Headers())
	}
	if err := msg.Ack(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "no message is left", func() bool { return b.info().State.Msgs == 0 })
}

// A message that is stored again replaces the one that waits, and one that is forgotten does not come. Another one with
// the same sequence, of an earlier stream, is not touched.
func TestReplaceAndForget(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	closeIt := b.run()
	at := time.Now().Add(time.Hour)
	again, other := message(1, at, nil), message(1, at, nil)
	again.Body = []byte("again")
	other.Stored = stored.Add(time.Second)
	for _, m := range []Message{message(1, at, nil), message(2, at, nil), other, again} {
		if err := b.put(m); err != nil {
			t.Fatal(err)
		}
	}
	b.w.Forget(ID{"COMMANDS", 2, stored})
	b.w.Forget(ID{"COMMANDS", 3, stored})
	closeIt()
	testserver.Eventually(t, "message 2 is forgotten", func() bool { return b.info().State.NumSubjects == 2 })
	s, err := b.js.Stream(t.Context(), contract.StreamRetry)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetLastMsgForSubject(t.Context(), again.subject()); err != nil || string(m.Data) != "again" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := s.GetLastMsgForSubject(t.Context(), other.subject()); err != nil || string(m.Data) != "body 1" {
		t.Errorf("of the earlier stream: %+v, %v", m, err)
	}
}

// Schedules survive a restart of the server.
func TestScheduleSurvivesARestart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run()
	const messages = 100
	for n := range uint64(messages) {
		if err := b.put(message(n, time.Now().Add(2*time.Second), nil)); err != nil {
			t.Fatal(err)
		}
	}
	b.server.Stop()
	b.server.Start()
	testserver.Eventually(t, "all have come", func() bool {
		c, err := b.js.Consumer(t.Context(), contract.StreamRetry, contract.ConsumerRetry)
		return err == nil && c.CachedInfo().NumPending == messages
	})
}

// Many messages at a time are stored, each Done is called once, and Close waits for all.
func TestManyAtATime(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	closeIt := b.run()
	const messages = 20_000
	var done atomic.Int64
	for n := range uint64(messages) {
		m := message(n, time.Now().Add(time.Hour), func(err error) {
			if err != nil {
				t.Error(err)
			}
			done.Add(1)
		})
		if !b.w.Put(m) {
			testserver.Eventually(t, "there is room", func() bool { return b.w.Put(m) })
		}
	}
	closeIt()
	if n := done.Load(); n != messages {
		t.Errorf("%d of %d are done", n, messages)
	}
	if n := b.info().State.Msgs; n != messages {
		t.Errorf("%d of %d are stored", n, messages)
	}
	if b.w.Put(message(1, time.Now(), nil)) {
		t.Error("a closed Writer takes a message")
	}
}

// What is not confirmed is bounded in number and bytes; a Writer that does not run takes no more than that.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := New(nil, slog.New(slog.DiscardHandler))
	n := 0
	for ; w.Put(message(1, stored, nil)); n++ {
	}
	if n != maxMessages {
		t.Errorf("%d messages, want %d", n, maxMessages)
	}
	w = New(nil, slog.New(slog.DiscardHandler))
	large := message(1, stored, nil)
	large.Body = make([]byte, 1<<20)
	for n = 0; w.Put(large); n++ {
	}
	if n < 60 || n > 64 {
		t.Errorf("%d messages of 1 MiB, want no more than 64 MiB", n)
	}
	if small := message(1, stored, nil); !w.Put(small) {
		t.Error("a small message finds no room behind the large ones")
	}
}

// fill stores messages of 1 kB, numbered from n on, until one is refused. It returns the number after that one's.
func (b *bed) fill(n uint64, half bool) (next uint64, err error) {
	for ; err == nil; n++ {
		m := message(n, time.Now().Add(time.Hour), nil)
		m.Body, m.Half = make([]byte, 1_000), half
		err = b.put(m)
	}
	return n, err
}

// A stream that is nine tenths full gets nothing more, so that it drops nothing; there is room again at eight tenths.
func TestFull(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const bound = 1 << 20
	b.change(func(c *jetstream.StreamConfig) { c.MaxBytes = bound })
	b.run()
	n, err := b.fill(0, false)
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	before := b.info().State
	if before.Bytes > bound/10*9 || before.Bytes < bound/10*7 {
		t.Errorf("%d bytes are stored, want a little less than nine tenths of %d", before.Bytes, bound)
	}
	if before.Msgs != n-1 {
		t.Errorf("%d of %d messages are stored", before.Msgs, n-1)
	}
	for n := range before.Msgs / 4 {
		b.w.Forget(ID{"COMMANDS", n, stored})
	}
	testserver.Eventually(t, "there is room again", func() bool { return b.put(message(n, time.Now().Add(time.Hour), nil)) == nil })
}

// While RETRY is full, what is stored in OVERFLOW instead is no reason to say that RETRY takes messages again: the log says
// once that it does not, however many of both kinds come in turns.
func TestFullIsLoggedOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.change(func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
	var log bytes.Buffer
	closeIt := b.runLogging(&log)
	n, err := b.fill(0, false)
	for range 5 {
		parked := message(n, time.Now().Add(time.Hour), nil)
		parked.Else = contract.ParkedSubject(parked.Stream, parked.Sequence, parked.Stored)
		if elsewhere := b.put(parked); elsewhere != nil || !errors.Is(err, ErrFull) {
			t.Fatal(elsewhere, err)
		}
		n, err = b.fill(n+1, false)
	}
	closeIt()
	if cannot, again := strings.Count(log.String(), "cannot be stored"), strings.Count(log.String(), "again"); cannot != 1 || again != 0 {
		t.Errorf("logged %d times that nothing can be stored, and %d times that it can again, want 1 and 0:\n%s", cannot, again, log.String())
	}
}

// What may use half of RETRY leaves the other half to others.
func TestHalf(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const bound = 2 << 20
	b.change(func(c *jetstream.StreamConfig) { c.MaxBytes = bound })
	b.run()
	n, err := b.fill(0, true)
	if stored := b.info().State.Bytes; !errors.Is(err, ErrHalf) || stored > bound/2 || stored < bound*3/10 {
		t.Errorf("%d bytes are stored, want a little less than half of %d (%v)", stored, bound, err)
	}
	_, err = b.fill(n, false)
	if stored := b.info().State.Bytes; !errors.Is(err, ErrFull) || stored < bound*7/10 {
		t.Errorf("%d bytes are stored, want a little less than nine tenths of %d (%v)", stored, bound, err)
	}
}

// Ten processes that fill RETRY at the same moment leave it its last tenth, so that it drops nothing.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const bound, processes = 4 << 20, 10
	b.change(func(c *jetstream.StreamConfig) { c.MaxBytes = bound })
	var all sync.WaitGroup
	for p := range uint64(processes) {
		w := New(testserver.JetStream(t, b.server.Connect(t)), slog.New(slog.DiscardHandler))
		var full atomic.Bool
		all.Go(func() { w.Run(context.Background()) })
		all.Go(func() {
			waiting := make(chan struct{}, inFlight)
			for n := uint64(0); !full.Load(); n++ {
				waiting <- struct{}{}
				m := message(n*processes+p, time.Now().Add(time.Hour), func(err error) {
					<-waiting
					if errors.Is(err, ErrFull) {
						full.Store(true)
					}
				})
				if m.Body = make([]byte, 4_000); !w.Put(m) {
					t.Error("no room in the Writer")
					break
				}
			}
			w.Close()
		})
	}
	all.Wait()
	state := b.info().State
	if state.Msgs != state.LastSeq {
		t.Errorf("%d of %d messages were dropped", state.LastSeq-state.Msgs, state.LastSeq)
	}
	if state.Bytes < bound*6/10 {
		t.Errorf("%d bytes are stored, want more than half of %d", state.Bytes, bound)
	}
}

// change changes the stream.
func (b *bed) change(f func(*jetstream.StreamConfig)) {
	b.Helper()
	c := b.info().Config
	f(&c)
	if _, err := b.js.UpdateStream(b.Context(), c); err != nil {
		b.Fatal(err)
	}
}

// A message that cannot be stored says why, and nothing is stored elsewhere. As soon as it can be, it is.
func TestCannotBeStored(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	closeIt := b.run()
	soon := time.Now().Add(time.Hour)

	large := message(1, soon, nil)
	large.Header["Large"] = []string{strings.Repeat("x", 64<<10)}
	if err := b.put(large); !errors.Is(err, ErrHeaders) {
		t.Errorf("large headers: %v", err)
	}
	large = message(1, soon, nil)
	large.Body = make([]byte, b.nc.MaxPayload())
	if err := b.put(large); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a large body: %v", err)
	}
	wild := message(1, soon, nil)
	wild.Subject = "commands.*"
	if err := b.put(wild); !errors.Is(err, jetstream.ErrScheduleTargetInvalid) {
		t.Errorf("a subject that cannot be published to: %v", err)
	}

	if err := b.js.DeleteStream(t.Context(), contract.StreamRetry); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the loss is noticed", func() bool { return errors.Is(b.put(message(1, soon, nil)), ErrNoRetry) })
	// Without schedules the message would wait for ever.
	plain := jetstream.StreamConfig{Name: contract.StreamRetry, Subjects: []string{"retry.>", "again.>"}, Storage: jetstream.MemoryStorage}
	if _, err := b.js.CreateStream(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "that is seen", func() bool {
		err := b.put(message(1, soon, nil))
		return errors.Is(err, ErrNoRetry) && strings.Contains(err.Error(), "no schedules")
	})
	b.change(func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true })
	testserver.Eventually(t, "it is stored", func() bool { return b.put(message(1, soon, nil)) == nil })

	b.server.Stop()
	if err := b.put(message(1, soon, nil)); err == nil {
		t.Error("stored without a server")
	}
	closeIt() // does not hang
}

// Who takes the subjects of RETRY for another stream gets no messages.
func TestNotStoredElsewhere(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.change(func(c *jetstream.StreamConfig) { c.Subjects = []string{"again.>"} })
	other, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"retry.>"}})
	if err != nil {
		t.Fatal(err)
	}
	b.run()
	if err := b.put(message(1, time.Now(), nil)); err == nil {
		t.Error("no error though another stream has the subject")
	}
	if info, err := other.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages are stored elsewhere (%v)", info.State.Msgs, err)
	}
}

// When its context ends, a Writer refuses what is not confirmed, so that it can be given back.
func TestAborted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	proxy := testserver.Proxy(t, strings.TrimPrefix(b.server.URL(), "nats://"))
	nc := testserver.ConnectNATS(t, "nats://"+proxy.Addr())
	w := New(testserver.JetStream(t, nc), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	first := make(chan error, 1)
	if !w.Put(message(0, time.Now(), func(err error) { first <- err })) {
		t.Fatal("no room")
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	var refused atomic.Int64
	for n := range uint64(2 * inFlight) {
		if !w.Put(message(n, time.Now(), func(err error) {
			if err != nil {
				refused.Add(1)
			}
		})) {
			t.Fatal("no room")
		}
	}
	cancel()
	w.Close()
	running.Wait()
	if n := refused.Load(); n != 2*inFlight {
		t.Errorf("%d messages are refused, want %d", n, 2*inFlight)
	}
}
