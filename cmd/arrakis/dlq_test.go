package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

func TestDLQHelpGolden(t *testing.T) {
	t.Setenv("COLUMNS", "") // kong asks for the width
	for _, command := range []string{"dlq", "dlq list", "dlq show", "dlq replay", "dlq purge"} {
		t.Run(command, func(t *testing.T) {
			r := arrakis(t, nil, append(strings.Fields(command), "--help")...)
			if r.code != exitDone || r.stderr != "" {
				t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
			}
			testserver.Golden(t, "help/"+strings.ReplaceAll("arrakis "+command, " ", "_")+".txt", r.stdout)
		})
	}
}

func TestDLQBadUsage(t *testing.T) {
	t.Parallel()
	const streams, reasons = "COMMANDS, EVENTS, ELIGIBILITY", "malformed, no_community, attempts_exhausted, no_handler, panic"
	nowhere := environment{"NATS_URL": "nats://127.0.0.1:1"}
	for _, tt := range []struct {
		args   []string
		code   int
		stderr string // a part of it
	}{
		{[]string{"list", "--stream=commands"}, exitUsage, "stream: must be one of " + streams},
		{[]string{"list", "--stream="}, exitUsage, streams},
		{[]string{"list", "--reason=bored"}, exitUsage, "reason: must be one of " + reasons},
		{[]string{"list", "--limit=0"}, exitUsage, "from 1 to " + strconv.Itoa(deadletter.MaxLimit)},
		{[]string{"list", "--limit=1001"}, exitUsage, "from 1 to " + strconv.Itoa(deadletter.MaxLimit)},
		{[]string{"list", "--cursor=x"}, exitUsage, "list again from the start"},
		{[]string{"list", "3"}, exitUsage, "3"},
		{[]string{"show"}, exitUsage, "<seq>"},
		{[]string{"show", "x"}, exitUsage, `"x" must be the number of a dead letter`},
		{[]string{"show", "1", "2"}, exitUsage, "2"},
		{[]string{"list", "--community="}, exitUsage, "community: "},
		{[]string{"list", "--order=random"}, exitUsage, "order: must be one of oldest, newest"},
		{[]string{"list", "--order="}, exitUsage, "order: must be one of oldest, newest"},
		{[]string{"replay"}, exitUsage, "--all"},
		{[]string{"replay", "--yes"}, exitUsage, "--all"},
		{[]string{"replay", "--community=", "--yes"}, exitUsage, "community: "},
		{[]string{"replay", "--all", "--stream=COMMANDS", "--yes"}, exitUsage, "--all is for all"},
		{[]string{"replay", "1", "--reason=panic"}, exitUsage, "leave one out"},
		{[]string{"purge", "1", "--reason=panic", "--yes"}, exitUsage, "leave one out"},
		{append([]string{"purge", "--yes"}, make([]string, deadletter.MaxSeqs+1)...), exitUsage, "must be the number"},
		{append([]string{"purge", "--yes"}, slices.Repeat([]string{"1"}, deadletter.MaxSeqs+1)...), exitUsage, "at most 1000"},
		{[]string{"replay", "1", "first", "1.5"}, exitUsage, `"1.5" must be the number`},
		{[]string{"replay", "1", "first", "1.5"}, exitUsage, `"first" must be the number`},
		{[]string{"purge", "--stream=*", "--yes"}, exitUsage, streams},
		{[]string{"purge", "--stream=", "--yes"}, exitUsage, streams},
		{[]string{"purge", "--reason=>", "--yes"}, exitUsage, reasons},
		{[]string{"purge", "--reason=", "--yes"}, exitUsage, reasons},
		{[]string{"list", "--nats-tls-cert=/no/such/file"}, exitUsage, "NATS_TLS_KEY"},
		{[]string{"list"}, exitFailed, "NATS_URL"},
		{[]string{"show", "1"}, exitFailed, "NATS_URL"},
		{[]string{"replay", "1"}, exitFailed, "NATS_URL"},
		{[]string{"purge", "--yes"}, exitFailed, "NATS_URL"},
	} {
		r := arrakis(t, nowhere, append([]string{"dlq"}, tt.args...)...)
		if r.code != tt.code || !strings.Contains(r.stderr, tt.stderr) || r.stdout != "" {
			t.Errorf("%q: %+v; want exit code %d and %q", tt.args, r, tt.code, tt.stderr)
		}
		for line := range strings.Lines(r.stderr) {
			if !strings.HasPrefix(line, "arrakis: ") {
				t.Errorf("%q: stderr: %q", tt.args, line)
			}
		}
	}
}

// TestDLQValidatesAlike gives the same mistakes to the admin API, which must answer with the same words.
func TestDLQValidatesAlike(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	for _, tt := range []struct{ cli, request string }{
		{"dlq list --stream=INTERNAL", "GET /v1/deadletters?stream=INTERNAL"},
		{"dlq list --reason=bored", "GET /v1/deadletters?reason=bored"},
		{"dlq list --order=random", "GET /v1/deadletters?order=random"},
		{"dlq list --community=a.b", "GET /v1/deadletters?community=a.b"},
		{"dlq list --cursor=-1", "GET /v1/deadletters?cursor=-1"},
		{"dlq replay x", "POST /v1/deadletters/x/replay"},
		{"dlq show x", "POST /v1/deadletters/x/replay"},
		{"dlq purge --stream=INTERNAL --yes", "GET /v1/deadletters?stream=INTERNAL"},
	} {
		r := arrakis(t, d.env(), strings.Fields(tt.cli)...)
		method, path, _ := strings.Cut(tt.request, " ")
		var p struct {
			Errors []struct{ Field, Detail string }
		}
		q := do(t, d.client, method, d.ops+path, "")
		if err := json.Unmarshal(q.body, &p); err != nil || q.status != http.StatusBadRequest || r.code != exitUsage || len(p.Errors) != 1 {
			t.Errorf("%s: %+v; %s: %d %s", tt.cli, r, tt.request, q.status, q.body)
			continue
		}
		if diff := cmp.Diff("arrakis: "+p.Errors[0].Field+": "+p.Errors[0].Detail+"\n", r.stderr); diff != "" {
			t.Errorf("%s (-admin API +command line)\n%s", tt.cli, diff)
		}
	}
}

// listLetters is what dlq list --json prints.
func listLetters(t *testing.T, env environment, args ...string) (letters []deadletter.Entry, next string) {
	t.Helper()
	r := arrakis(t, env, append([]string{"dlq", "list", "--json"}, args...)...)
	var page struct {
		Deadletters []deadletter.Entry
		Next        string
	}
	if err := json.Unmarshal([]byte(r.stdout), &page); err != nil || r.code != exitDone || page.Deadletters == nil {
		t.Fatalf("%v: %+v", err, r)
	}
	return page.Deadletters, page.Next
}

// dlq runs a dlq command, which must end with the exit code and print errors only when it fails.
func dlq(t *testing.T, env environment, code int, args string) result {
	t.Helper()
	r := arrakis(t, env, append([]string{"dlq"}, strings.Fields(args)...)...)
	if faults := bulkProgress.ReplaceAllString(r.stderr, ""); r.code != code || (faults == "") != (code == exitDone) {
		t.Errorf("dlq %s: %+v, want exit code %d", args, r, code)
	}
	return r
}

// bulkProgress is what a run says from time to time that takes long, as on a slow machine.
var bulkProgress = regexp.MustCompile(`arrakis: \d+ %, \d+ done\n`)

// says checks for parts of what was printed.
func (r result) says(t *testing.T, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("%q is missing:\n%s%s", want, r.stdout, r.stderr)
		}
	}
}

// TestDLQ has messages dead-lettered by a worker, and does with them what there is to do.
func TestDLQ(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--max-attempts=1")
	nc, js := d.connect(t)
	dlq(t, d.env(), exitDone, "list").says(t, "0 dead letters\n")
	if l, cursor := listLetters(t, d.env()); len(l) > 0 || cursor != "" { // it fails on null
		t.Errorf("of none: %+v, %q", l, cursor)
	}
	if _, err := js.Publish(t.Context(), "commands.interaction", []byte("{\n\t\"event_id\": 7\n}")); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the bad message is listed", func() bool { l, _ := listLetters(t, d.env()); return len(l) == 1 })
	stop := failingHandler(t, nc, "handlers.command.later")
	d.command(t, "comm_071", "later", `{}`)
	testserver.Eventually(t, "the command is listed", func() bool { l, _ := listLetters(t, d.env()); return len(l) == 2 })
	stop()

	later := listsAndShows(t, d)
	replays(t, d, nc, later)
	storeDeadLetter(t, js, contract.StreamEvents, contract.ReasonPanic, nil, "{}")
	purges(t, d, js)
}

// failingHandler answers requests with an error 500, until the returned function is called.
func failingHandler(t *testing.T, nc *nats.Conn, subject string) (stop func()) {
	t.Helper()
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{contract.HeaderServiceErrorCode: {"500"}}}) // the test sees what is missing
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

// listsAndShows looks at TestDLQ's dead letters, 1 malformed and 2 a command whose handler fails, which it returns.
func listsAndShows(t *testing.T, d *devProcess) (later deadletter.Entry) {
	t.Helper()
	letters, _ := listLetters(t, d.env(), "--reason=attempts_exhausted", "--stream=COMMANDS")
	if len(letters) != 1 || letters[0].Seq != 2 || letters[0].Community != "comm_071" || letters[0].Attempts != 1 {
		t.Fatalf("letters %+v", letters)
	}
	dlq(t, d.env(), exitDone, "list").says(t, "SEQ", "malformed", "attempts_exhausted", "comm_071")
	dlq(t, d.env(), exitDone, "list --stream=EVENTS --reason=panic").says(t, "0 dead letters of EVENTS with reason panic")

	dlq(t, d.env(), exitDone, "show 1").says(t, "malformed", "subject      commands.interaction\n", "COMMANDS, message 1",
		"18 bytes\n{\n    \"event_id\": 7\n}\n")
	dlq(t, d.env(), exitDone, "show 2").says(t,
		"attempts     1", "header       "+contract.HeaderRequestID+": ", `"command_name":"later"`, "comm_071")
	var shown deadletter.Entry
	if err := json.Unmarshal([]byte(dlq(t, d.env(), exitDone, "show 2 --json").stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Headers[contract.HeaderReason][0] != "attempts_exhausted" || shown.Body != letters[0].Body {
		t.Errorf("shown %+v", shown)
	}
	dlq(t, d.env(), exitFailed, "show 99").says(t, "dead letter 99: no such dead letter", "arrakis dlq list")
	return letters[0]
}

// replays replays both letters and one that is not there. The command has a better handler now; the bad message becomes a
// dead letter again.
func replays(t *testing.T, d *devProcess, nc *nats.Conn, later deadletter.Entry) {
	t.Helper()
	handled := make(chan string, 2)
	_, err := nc.Subscribe("handlers.command.later", func(m *nats.Msg) {
		handled <- m.Header.Get(contract.HeaderEventID)
		_ = m.Respond([]byte("{}")) // the test sees what is missing
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	dlq(t, d.env(), exitFailed, "replay 99 2 1").says(t, "replay dead letter 99: no such dead letter", "arrakis dlq list",
		"replayed 2 to commands.interaction.comm_071: it is message 3 of COMMANDS\n",
		"replayed 1 to commands.interaction: it is message 4 of COMMANDS\n")
	select {
	case id := <-handled:
		if id != later.EventID {
			t.Errorf("event ID %q, want %q", id, later.EventID)
		}
	case <-time.After(testserver.Patience):
		t.Fatal("the replay is not handled")
	}
	testserver.Eventually(t, "the bad message is a dead letter again", func() bool {
		l, _ := listLetters(t, d.env())
		return len(l) == 1 && l[0].Seq > 2
	})
	if r := dlq(t, d.env(), exitFailed, "replay 2 --json"); !json.Valid([]byte(r.stdout)) || !strings.Contains(r.stdout, `"replayed": []`) {
		t.Errorf("a second replay: %+v", r)
	}
}

// purges deletes what is left: one malformed letter of COMMANDS, one of EVENTS.
func purges(t *testing.T, d *devProcess, js jetstream.JetStream) {
	t.Helper()
	dlq(t, d.env(), exitUsage, "purge --stream=COMMANDS").says(t, "would delete 1 dead letter of COMMANDS: add --yes")
	dlq(t, d.env(), exitUsage, "purge").says(t, "would delete 2 dead letters: add --yes")
	if l, _ := listLetters(t, d.env()); len(l) != 2 {
		t.Errorf("%d are left without --yes, want 2", len(l))
	}
	dlq(t, d.env(), exitDone, "purge --stream=COMMANDS --reason=malformed --yes").says(t, "deleted 1 dead letter of COMMANDS with reason malformed")
	if l, _ := listLetters(t, d.env()); len(l) != 1 || l[0].Stream != contract.StreamEvents {
		t.Errorf("left %+v", l)
	}
	last, _ := listLetters(t, d.env())
	seq := strconv.FormatUint(last[0].Seq, 10)
	dlq(t, d.env(), exitUsage, "purge 1 "+seq).says(t, "would delete 2 dead letters: add --yes")
	dlq(t, d.env(), exitDone, "purge 1 "+seq+" --yes").says(t, "deleted 1 dead letter\n", "gone already: 1")
	storeDeadLetter(t, js, contract.StreamEvents, contract.ReasonPanic, nil, "{}")
	dlq(t, d.env(), exitDone, "purge --yes --json").says(t, `"purged": 1`)
	dlq(t, d.env(), exitDone, "purge --yes").says(t, "deleted 0 dead letters")
}

// storeDeadLetter stores a dead letter that no worker has written.
func storeDeadLetter(t *testing.T, js jetstream.JetStream, stream string, reason contract.Reason, header map[string]string, body string) {
	t.Helper()
	m := nats.NewMsg(contract.DeadLetterSubject(stream, reason))
	m.Data = []byte(body)
	m.Header.Set(contract.HeaderStream, stream)
	m.Header.Set(contract.HeaderReason, string(reason))
	for name, value := range header {
		m.Header.Set(name, value)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// TestDLQOfStrangers: whoever may publish to the stream has written what is printed, so it is held to 80 columns and to
// what a terminal may see.
func TestDLQOfStrangers(t *testing.T) {
	t.Parallel()
	server := testserver.NATS(t)
	env := environment{"NATS_URL": server.URL()}
	if r := arrakis(t, env, "dlq", "list"); r.code != exitFailed || !strings.Contains(r.stderr, "provision --apply") {
		t.Errorf("without streams: %+v", r)
	}
	if r := arrakis(t, env, "provision", "--apply"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	storeLettersOfStrangers(t, testserver.JetStream(t, server.Connect(t)))

	wantNarrowTable(t, arrakis(t, env, "dlq", "list").stdout, 4)
	if r := arrakis(t, env, "dlq", "list", "--stream=EVENTS"); !strings.Contains(r.stdout, "no JSON") {
		t.Errorf("%+v", r)
	}
	for seq, want := range map[string]string{
		"1": strings.Repeat("é", 512), "2": "?[2J\n    a\n", "3": `3 bytes, quoted because they are not UTF-8` + "\n" + `"\xff\x1b{"`,
	} {
		if r := arrakis(t, env, "dlq", "show", seq); !strings.Contains(r.stdout, want) || strings.Contains(r.stdout, "\x1b") {
			t.Errorf("show %s: %q, want %q", seq, r.stdout, want)
		}
	}
	var shown deadletter.Entry
	r := arrakis(t, env, "dlq", "show", "3", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &shown); err != nil || string(shown.BodyBase64) != "\xff\x1b{" {
		t.Errorf("%v: %+v", err, r)
	}
	r = arrakis(t, env, "dlq", "replay", "2")
	if r.code != exitFailed || !strings.Contains(r.stderr, "internal.x") || !strings.Contains(r.stderr, "arrakis dlq show 2") {
		t.Errorf("%+v", r)
	}

	first, cursor := listLetters(t, env, "--limit=2")
	second, end := listLetters(t, env, "--limit=2", "--cursor="+cursor)
	if len(first) != 2 || first[0].Seq != 1 || len(second) != 1 || second[0].Seq != 3 || end != "" {
		t.Errorf("pages %+v, %q, %+v, %q", first, cursor, second, end)
	}
	if r := arrakis(t, env, "dlq", "list", "--limit=2"); !strings.Contains(r.stdout, "there are more: --cursor "+cursor+"\n") {
		t.Errorf("%+v", r)
	}
}

// storeLettersOfStrangers stores three dead letters: one that is long in every field, one with a terminal's control
// codes, one whose body is not UTF-8.
func storeLettersOfStrangers(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	long := strings.Repeat("x", 128)
	storeDeadLetter(t, js, contract.StreamEligibility, contract.ReasonAttemptsExhausted, map[string]string{
		contract.HeaderSubject: "eligibility.check.single", contract.HeaderError: strings.Repeat("é", 512),
	}, `{"event_id":"e1","community_id":"`+long+`"}`)
	storeDeadLetter(t, js, contract.StreamCommands, contract.ReasonPanic, map[string]string{
		contract.HeaderStream: long, contract.HeaderReason: long, contract.HeaderSubject: "internal.x", "X-Mine": "\x1b[2J",
	}, "\x1b[2J\r\n\ta")
	storeDeadLetter(t, js, contract.StreamEvents, contract.ReasonMalformed, map[string]string{contract.HeaderError: "no JSON"}, "\xff\x1b{")
}

// wantNarrowTable checks that a table has the lines, at most 80 columns wide, for which something was cut off.
func wantNarrowTable(t *testing.T, table string, lines int) {
	t.Helper()
	for line := range strings.Lines(table) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Count(table, "\n") != lines || !strings.Contains(table, "…") {
		t.Errorf("table:\n%s", table)
	}
}
