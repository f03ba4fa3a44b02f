package console

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

// storeCommand stores the dead letter of a command.
func (b *bed) storeCommand(tb testing.TB, community string) uint64 {
	tb.Helper()
	body := fmt.Sprintf(`{"event_id":"e1","event_type":"interaction.create","guild_id":%q,"data":{"command_name":"ping"}}`, community)
	return b.storeLetter(tb, map[string]string{
		contract.HeaderSubject: "commands.interaction", contract.HeaderError: "the handler panicked", contract.HeaderAttempts: "3",
		contract.HeaderSequence: "17", contract.HeaderRequestID: "req-1",
	}, body)
}

// listedSeqs are the rows of a list.
func listedSeqs(page string) (seqs []string) {
	for _, m := range regexp.MustCompile(`<tr data-key="(\d+)">`).FindAllStringSubmatch(page, -1) {
		seqs = append(seqs, m[1])
	}
	return seqs
}

// The pages of the list have what the address selects, once, in its order, and a bulk run is for the same.
func TestDeadLettersPages(t *testing.T) {
	b := newBed(t) // it has a dead letter 1
	const all = shownLetters + 30
	var want []string
	for i := range all {
		want = append(want, fmt.Sprint(b.storeCommand(t, fmt.Sprint("comm_", i%2))))
	}
	walk := func(path string) (seqs []string, pages int) {
		for path != "" {
			r := b.ask(t, http.MethodGet, path, "")
			if r.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, r.status, r.body)
			}
			seqs = append(seqs, listedSeqs(r.body)...)
			path = ""
			if next := append(linked(r.body, "Older"), linked(r.body, "Newer")...); len(next) > 0 {
				path = next[0]
			}
			pages++
		}
		return seqs, pages
	}
	oldest, pages := walk("/deadletters?order=oldest")
	if diff := cmp.Diff(append([]string{"1"}, want...), oldest); diff != "" || pages != 2 {
		t.Errorf("%d pages, oldest first (-want +got)\n%s", pages, diff)
	}
	newest, _ := walk("/deadletters")
	slices.Reverse(newest)
	if diff := cmp.Diff(oldest, newest); diff != "" {
		t.Errorf("newest first, reversed (-oldest first +got)\n%s", diff)
	}
	if ones, _ := walk("/deadletters?community=comm_1&stream=COMMANDS&reason=panic"); len(ones) != all/2 {
		t.Errorf("%d of comm_1, want %d", len(ones), all/2)
	}
	r := b.ask(t, http.MethodGet, "/deadletters?community=+comm_1+&reason=panic", "")
	m := regexp.MustCompile(`data-filter="([^"]*)" data-all="([^"]*)"`).FindStringSubmatch(r.body)
	var f deadletter.Filter
	if m == nil || json.Unmarshal([]byte(html.UnescapeString(m[1])), &f) != nil || f != (deadletter.Filter{Community: "comm_1", Reason: "panic"}) {
		t.Errorf("a bulk run is for %q", m)
	} else if m[2] != "all dead letters of community comm_1 with the reason panic" {
		t.Errorf("the question says %q", m[2])
	}
	for path, want := range map[string]string{
		"/deadletters?stream=EVENTS":                      "None match.",
		"/deadletters?reason=no_handler":                  "None match.",
		"/deadletters?community=nobody":                   "None match.",
		"/deadletters?order=oldest&cursor=99999":          "None match.",
		"/deadletters?reason=panic&stream=COMMANDS":       fmt.Sprint(all+1, " of COMMANDS with the reason panic"),
		"/deadletters?community=comm_1&reason=attempts_x": "must be one of",
		"/deadletters?community=a.b":                      "must be 1 to 128 letters",
		"/deadletters?stream=INTERNAL":                    "must be one of",
		"/deadletters?order=x":                            "must be one of oldest, newest",
		"/deadletters?cursor=x":                           "list again from the start",
		"/deadletters/x":                                  "must be the number of a dead letter",
		"/deadletters/999":                                "There is none, or it is gone",
	} {
		if text := textOf(b.ask(t, http.MethodGet, path, "").body); !strings.Contains(text, want) {
			t.Errorf("%s: no %q in %s", path, want, text)
		}
	}
}

// Where there is none, the page says so, and offers nothing to do.
func TestDeadLettersOfNone(t *testing.T) {
	b := newBed(t)
	if err := deadletter.New(b.js).Delete(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	r := b.ask(t, http.MethodGet, "/deadletters", "")
	if !strings.Contains(r.body, "There are none") || strings.Contains(r.body, `id="bulk"`) {
		t.Error(r.body)
	}
}

// The page of one dead letter shows what is known of it, and what can be done with it.
func TestDeadLetterPage(t *testing.T) {
	b := newBed(t)
	seq := b.storeCommand(t, "comm_1")
	r := b.ask(t, http.MethodGet, fmt.Sprint("/deadletters/", seq), "")
	text := textOf(r.body)
	for _, want := range []string{
		"the handler panicked", "Its handler has panicked", "Attempts 3", "comm_1", "e1", "req-1", "commands.interaction", "COMMANDS, message 17",
		`"guild_id": "comm_1"`, "JSON, 102 B", contract.HeaderRequestID, "Replay", "Delete",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	for _, want := range []string{
		fmt.Sprintf(`data-api="POST /v1/deadletters/%d/replay"`, seq), fmt.Sprintf(`data-api="DELETE /v1/deadletters/%d"`, seq), `href="/tenants/comm_1"`,
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %s", want)
		}
	}
	cut := b.storeLetter(t, map[string]string{contract.HeaderSubject: "commands.interaction", contract.HeaderTruncated: "1048576"}, "{")
	r = b.ask(t, http.MethodGet, fmt.Sprint("/deadletters/", cut), "")
	if !strings.Contains(r.body, "only the beginning of a body of 1048576 bytes") || strings.Contains(r.body, "/replay") {
		t.Errorf("a dead letter that cannot be replayed: %s", r.body)
	}
}

// However large and hostile its headers and its body are, a page is bounded, and they are text.
func TestHostileDeadLetter(t *testing.T) {
	b := newBed(t)
	m := nats.NewMsg(contract.DeadLetterSubject(contract.StreamEvents, contract.ReasonMalformed))
	m.Data = []byte(strings.Repeat("\x1b[31m\u202e\xff<script>alert(1)</script>", 20_000))
	m.Header[contract.HeaderError] = []string{strings.Repeat("<b>&", 5_000)}
	for i := range 150 {
		m.Header[fmt.Sprint("X-", i)] = []string{strings.Repeat("<i>", 80)}
	}
	m.Header["X-Long"] = []string{strings.Repeat("é<u>", 1_000)}
	ack, err := b.js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/deadletters", fmt.Sprint("/deadletters/", ack.Sequence)} {
		r := b.ask(t, http.MethodGet, path, "")
		if r.status != http.StatusOK || len(r.body) > 300_000 {
			t.Errorf("%s: %d, %d bytes", path, r.status, len(r.body))
		}
		for _, never := range []string{"<script>", "<b>", "<i>", "<u>", "\x1b", "\u202e", "\xff"} {
			if strings.Contains(r.body, never) {
				t.Errorf("%s: %q has come through", path, never)
			}
		}
	}
	text := textOf(b.ask(t, http.MethodGet, fmt.Sprint("/deadletters/", ack.Sequence), "").body)
	for _, want := range []string{"binary, ", `\u001b[31m\u202e\xff<script>`, "The first part of", "And 51 more"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}

// Who may only look is shown no selection and no button.
func TestDeadLettersViewOnly(t *testing.T) {
	b := newBed(t)
	seq := b.storeCommand(t, "comm_1")
	for _, path := range []string{"/deadletters", fmt.Sprint("/deadletters/", seq)} {
		r := b.ask(t, http.MethodGet, path, "", "Authorization", "Bearer "+viewToken)
		if r.status != http.StatusOK || strings.Contains(r.body, `type="checkbox"`) || strings.Contains(r.body, `id="bulk"`) || strings.Contains(r.body, "data-api") {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}
