package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
)

// nearly are NATS and Redis, with the streams provisioned.
func nearly(t *testing.T) (environment, jetstream.JetStream, string) {
	t.Helper()
	nats, redis := testserver.NATS(t), testserver.Miniredis(t)
	env := environment{"NATS_URL": nats.URL(), "REDIS_URL": "redis://" + redis.Addr(), "STREAM_STORAGE": "memory"}
	if r := arrakis(t, env, "provision", "--apply"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	return env, testserver.JetStream(t, nats.Connect(t)), redis.Addr()
}

func TestStatus(t *testing.T) {
	t.Parallel()
	env, js, _ := nearly(t)
	for range 3 {
		if _, err := js.Publish(t.Context(), "commands.interaction", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), "ELIGIBILITY", "sync-worker"); err != nil {
		t.Fatal(err)
	}
	env["MAX_ACK_PENDING"] = "7"
	r := arrakis(t, env, "status")
	lines := strings.Split(r.stdout, "\n")
	for _, want := range [][]string{
		{"Degraded:", "no worker runs: nothing is handled"},
		{"stream EVENTS does not exist"},
		{"consumer sync-worker: does not exist"},
		{"STREAM", "MESSAGES", "BYTES", "BOUND", "OLDEST", "DROPPED", "SETTINGS"},
		{"COMMANDS", "3", "B", "4.0 GiB", "0", "differs"},
		{"EVENTS", "missing"},
		{"ELIGIBILITY", "0", "1.0 GiB"},
		{"DEADLETTER", "as wanted"},
		{"command-worker", "3", "0", "-"},
		{"sync-worker", "does not exist"},
	} {
		if !hasLine(lines, want) {
			t.Errorf("no line with %q", want)
		}
	}
	if r.code != exitDone || t.Failed() {
		t.Errorf("exit code %d, stderr %q\n%s", r.code, r.stderr, r.stdout)
	}

	var document view.Fleet
	r = arrakis(t, env, "status", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &document); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if s := document.Streams[0]; s.Stream != "COMMANDS" || s.Messages != 3 || *s.MaxBytes != 4<<30 || *s.UnreadDropped != 0 ||
		s.Consumers[0].Pending != 3 || s.Differs[0].Setting != "max_ack_pending" {
		t.Errorf("%s", r.stdout)
	}

	env["REDIS_URL"] = "redis://127.0.0.1:1"
	r = arrakis(t, env, "status")
	if r.code != exitDone || !hasLine(strings.Split(r.stdout, "\n"), []string{"COMMANDS", "3", "?"}) {
		t.Errorf("without Redis: %+v", r)
	}
}

// TestStatusWatch: it shows the fleet again and again, says that a worker has come and gone, and ends when it is
// interrupted, without an error. With --json each line is a document.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	env, js, _ := nearly(t)
	people, programs := start(t, env, "status", "--watch"), start(t, env, "status", "--watch", "--json")
	testserver.Eventually(t, "both say that there is no worker", func() bool {
		return strings.Contains(people.stdout.String(), "no worker runs") && strings.Contains(programs.stdout.String(), `"no worker runs`)
	})
	beat, said := 0, time.Time{}
	tell := func(state string) {
		t.Helper()
		beat++
		body := fmt.Sprintf(`{"id":"host-1","beat":%d,"host":"host","state":%q,"version":"v1","rates":{"in":1234}}`, beat, state)
		if _, err := js.Publish(t.Context(), "internal.worker.host-1", []byte(body)); err != nil {
			t.Fatal(err)
		}
		said = time.Now()
	}
	testserver.Eventually(t, "the worker is shown", func() bool {
		if time.Since(said) > fleet.Interval { // as a worker does, which else would count as lost
			tell("ready")
		}
		return hasLine(strings.Split(people.stdout.String(), "\n"), []string{"host-1", "ready", "1234"})
	})
	tell("stopped")
	testserver.Eventually(t, "it has stopped", func() bool {
		return hasLine(strings.Split(people.stdout.String(), "\n"), []string{"host-1", "stopped", "ago"})
	})
	for _, b := range []*background{people, programs} {
		b.stop()
		if code := b.exit(t); code != exitDone {
			t.Errorf("exit code %d: %s", code, b.stderr.String())
		}
	}
	if strings.Contains(people.stdout.String(), "\x1b") {
		t.Error("control characters though it is no terminal")
	}
	for line := range strings.Lines(programs.stdout.String()) {
		var f view.Fleet
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// Redis that is connected and never answers, such as one that is frozen, does not keep the rest from being shown.
func TestStatusWithoutAnAnswerOfRedis(t *testing.T) {
	t.Parallel()
	env, _, _ := nearly(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // only listens
	env["REDIS_URL"] = "redis://" + silent.Addr().String()
	r := arrakis(t, env, "status")
	if lines := strings.Split(r.stdout, "\n"); r.code != exitDone || !hasLine(lines, []string{"COMMANDS", "?", "as wanted"}) || !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), "Redis does not answer") {
		t.Errorf("%+v", r)
	}
}

// A status that is watched asks Redis again when it is back, however long it was away.
func TestStatusWatchSeesRedisAgain(t *testing.T) {
	t.Parallel()
	env, _, _ := nearly(t)
	mini := testserver.Miniredis(t)
	env["REDIS_URL"] = "redis://" + mini.Addr()
	mini.Close()
	b := start(t, env, "status", "--watch", "--json")
	lines := func() []string { return strings.Split(b.stdout.String(), "\n") } // the last one is not whole
	testserver.Eventually(t, "it has asked in vain, again and again", func() bool {
		return strings.Count(b.stdout.String(), "Redis does not answer") >= 4
	})
	if err := mini.Restart(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "Redis answers", func() bool {
		all := lines()
		return strings.Contains(all[len(all)-2], `"unread_dropped":0`)
	})
}

// On a terminal, a state takes the place of the one before, and never wraps or scrolls.
func TestScreenFits(t *testing.T) {
	var b bytes.Buffer
	s := &screen{w: &b, size: func() (int, int, error) { return 20, 6, nil }}
	if err := s.show(strings.Repeat(strings.Repeat("x", 30)+"\n", 10)); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines != 5 || !strings.Contains(b.String(), "… 6 more lines") || strings.Contains(b.String(), strings.Repeat("x", 20)) {
		t.Errorf("%d lines: %q", lines, b.String())
	}
	b.Reset()
	if err := s.show("a\nb\n"); err != nil || b.String() != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("%v: %q", err, b.String())
	}
}

// TestLanesAreShown: status and usage say who is in a lane, and how much waits there.
func TestLanesAreShown(t *testing.T) {
	t.Parallel()
	env, js, _ := nearly(t)
	if r := arrakis(t, env, "status"); r.code != exitDone || !strings.Contains(r.stdout, "In a lane: nobody.") {
		t.Errorf("no lane: %+v", r)
	}
	for range 3 {
		if _, err := js.Publish(t.Context(), contract.LaneSubject(contract.KindEligibility, "comm_007", 4), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{"status", "usage comm_007"} {
		r := arrakis(t, env, strings.Fields(command)...)
		lines := strings.Split(r.stdout, "\n")
		if r.code != exitDone || !hasLine(lines, []string{"IN A LANE", "KIND", "LANE"}) || !hasLine(lines, []string{"comm_007", "eligibility", "4", "3", "B"}) {
			t.Errorf("%s: %+v", command, r)
		}
	}
	var used view.Usage
	r := arrakis(t, env, "usage", "comm_007", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &used); err != nil || used.Lanes == nil || len(*used.Lanes) != 1 || (*used.Lanes)[0].Messages != 3 {
		t.Errorf("%v: %+v", err, r)
	}
	env["NATS_URL"] = "nats://127.0.0.1:1"
	if r := arrakis(t, env, "usage", "comm_007"); r.code != exitDone || !strings.Contains(r.stdout, "NATS does not answer") {
		t.Errorf("without NATS: %+v", r)
	}
}

func hasLine(lines, parts []string) bool {
	for _, line := range lines {
		rest, all := line, true
		for _, part := range parts {
			_, after, ok := strings.Cut(rest, part)
			rest, all = after, all && ok
		}
		if all {
			return true
		}
	}
	return false
}

// The table fits into 80 columns, with numbers as large as they may be in practice.
func TestStatusFits(t *testing.T) {
	t.Parallel()
	huge, bound := uint64(99_999_999_999), int64(1000<<30)
	all := []view.Stream{
		{
			Stream: "ELIGIBILITY", Exists: true, Messages: huge, Bytes: 1023 << 30, MaxBytes: &bound, OldestMS: 30*24*3600*1000 - 1, UnreadDropped: &huge,
			Differs: []streams.Change{{}}, Consumers: []view.Consumer{
				{Consumer: "eligibility-worker", Pending: huge, Unacked: 1_000_000, Redelivered: 1_000_000, Leader: strings.Repeat("n", 300)},
				{Consumer: "sync-worker", Fault: "does not answer: has it a leader?"},
			},
		},
	}
	var b bytes.Buffer
	table := &table{w: &b}
	fleetTables(table, &view.Fleet{
		Degraded: []string{strings.Repeat("a long sentence ", 20), "a short one"}, Streams: all,
		Totals: view.FleetTotals{Pending: huge, Waiting: 1_000_000, Running: 100_000, Handlers: 256_000, Workers: 1000, Ready: 999, Rates: hugeRates},
		Workers: []view.Worker{
			{ID: strings.Repeat("w", 73), Version: strings.Repeat("v", 100), State: "not_ready", UptimeMS: 99 * 24 * 3600 * 1000, Rates: hugeRates, Waiting: 1_000_000, Running: 100_000},
			{ID: "w", State: fleet.Lost, AgeMS: 59_000},
		},
		Waiting: slices.Repeat([]view.WaitingCommunity{{
			Community: strings.Repeat("c", 128), Tier: "enterprise", Waiting: 1_000_000, Running: 100_000, Share: 1,
			Lanes: []string{"command", "eligibility", "sync", "event"},
		}}, 11),
		DeadLetters: view.FleetDeadLetters{Messages: huge, ByReason: map[contract.Reason]uint64{
			contract.ReasonAttemptsExhausted: huge / 3, contract.ReasonWorkerKilled: huge / 3, contract.ReasonMalformed: huge / 3,
		}},
	})
	opened := time.Now().Add(-47 * time.Hour)
	laneTable(table, []view.Lane{{
		Kind: "eligibility", Community: strings.Repeat("1", 20), Lane: 35, Shared: true, Opened: &opened,
		Messages: 99_999_999, Bytes: 1023 << 30, OldestMS: 24*3600*1000 - 1,
	}})
	table.flush()
	checkFits(t, b.String())
}

var hugeRates = fleet.Rates{In: 1e6, Handled: 999_499, Limited: 99_999, Failed: 9.94, DeadLettered: 0.1}

// checkFits checks that lines are no wider than 80 columns and do not end with spaces.
func checkFits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > 80 || strings.HasSuffix(line, " ") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestSizeAndAge(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 100 << 10: "100 KiB", 1<<20 - 1: "1.0 MiB", 1 << 30: "1.0 GiB", math.MaxUint64: "16.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 47 * time.Hour: "47h", 7 * 24 * time.Hour: "7d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%s) = %s, want %s", d, got, want)
		}
	}
}

// F5: a command that a full stream refuses is an error that says so.
func TestF5SendToAFullStream(t *testing.T) {
	t.Parallel()
	env, js, _ := nearly(t)
	s, err := js.Stream(t.Context(), "COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxMsgs = 1
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "commands.interaction", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	r := arrakis(t, env, "send", "comm_001", "ping")
	if r.code != exitFailed || !strings.Contains(r.stderr, "stream is full") {
		t.Errorf("%+v", r)
	}
}

// TestProvisionAdvice: what provision says of streams that JetStream cannot change is readable, and deletes no messages.
func TestProvisionAdvice(t *testing.T) {
	t.Parallel()
	env, _, _ := nearly(t)
	env["STREAM_STORAGE"] = "file"
	r := arrakis(t, env, "provision")
	const last = "\nnothing is changed yet: `arrakis provision --apply` makes those changes that\n" +
		"JetStream can make, and says what to do about the others\n"
	if r.code != exitDone || !strings.HasSuffix(r.stdout, last) {
		t.Errorf("%+v", r)
	}
	r = arrakis(t, env, "provision", "--apply")
	if r.code != exitFailed || !strings.Contains(r.stderr, "says how to make DEADLETTER again without losing messages") ||
		strings.Contains(r.stderr, "nats stream rm") {
		t.Errorf("%+v", r)
	}
}

// TestSendToALimitOfZero: it is not told to wait.
func TestSendToALimitOfZero(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	if r := arrakis(t, d.env(), "tenant", "set", "comm_050", "--commands=0"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	r := arrakis(t, d.env(), "send", "comm_050", "ping")
	if r.code != exitFailed || !strings.Contains(r.stdout, "the limit is 0, which admits nothing; raise it (429)\n") ||
		strings.Contains(r.stdout, "retry after") {
		t.Errorf("%+v", r)
	}
}

// F4: what provision says about deleting a consumer is true: it goes on where it was.
func TestF4ProvisionMakesAConsumerAgain(t *testing.T) {
	t.Parallel()
	env, js, redis := nearly(t)
	for range 5 {
		if _, err := js.Publish(t.Context(), "events.member.join", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	floor := fmt.Sprintf("%d 3", s.CachedInfo().Created.UnixNano()) // as workers keep it
	if err := testserver.ConnectRedis(t, redis).HSet(t.Context(), "arrakis:stream:EVENTS", "floor:event-worker", floor).Err(); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), "EVENTS", "event-worker"); err != nil {
		t.Fatal(err)
	}
	away := environment{"NATS_URL": env["NATS_URL"], "STREAM_STORAGE": "memory", "REDIS_URL": "redis://127.0.0.1:1", "MAX_ACK_PENDING": "50"}
	r := arrakis(t, away, "provision", "--apply")
	if r.code != exitFailed || !strings.Contains(r.stderr, "consumer EVENTS/event-worker: where the consumer was is not known until Redis answers") ||
		strings.Contains(r.stderr, "max_ack_pending") {
		t.Errorf("without Redis: %+v", r)
	}
	if r := arrakis(t, env, "provision", "--apply"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	consumer, err := s.Consumer(t.Context(), "event-worker")
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(testserver.Patience))
	if err != nil {
		t.Fatal(err)
	}
	if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != 4 {
		t.Errorf("it begins with %+v (%v), want message 4", meta, err)
	}
}
