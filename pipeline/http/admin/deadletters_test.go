package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/tenant/store"
)

// letter stores a dead letter of a message to a subject.
func (b *bed) letter(t *testing.T, stream string, reason contract.Reason, subject, community string) {
	t.Helper()
	m := nats.NewMsg(contract.DeadLetterSubject(stream, reason))
	m.Data = fmt.Appendf(nil, `{"event_id":"e1","guild_id":%q}`, community)
	m.Header[contract.HeaderStream], m.Header[contract.HeaderReason] = []string{stream}, []string{string(reason)}
	m.Header[contract.HeaderSubject] = []string{subject}
	if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.letter(t, "COMMANDS", contract.ReasonPanic, "commands.interaction", "c1")
	b.letter(t, "EVENTS", contract.ReasonPanic, "events.guild.join", "c1")
	b.letter(t, "COMMANDS", contract.ReasonHandlerError, "internal.x", "c1")
	list := func(path string) (subjects []string, link string) {
		t.Helper()
		r := b.do(t, "GET", path, "").want(t, 200)
		var page struct {
			Letters []struct{ Subject, Community, Body string } `json:"deadletters"`
		}
		r.decode(t, &page)
		for _, l := range page.Letters {
			subjects = append(subjects, l.Subject)
			if l.Body == "" {
				t.Errorf("letter %+v", l)
			}
		}
		return subjects, r.header.Get("Link")
	}
	for path, want := range map[string][]string{
		"/v1/deadletters":                              {"commands.interaction", "events.guild.join", "internal.x"},
		"/v1/deadletters?limit=1&cursor=1":             {"events.guild.join"},
		"/v1/deadletters?stream=COMMANDS":              {"commands.interaction", "internal.x"},
		"/v1/deadletters?stream=EVENTS&reason=panic":   {"events.guild.join"},
		"/v1/deadletters?reason=no_community":          nil,
		"/v1/deadletters?cursor=18446744073709551615":  nil,
		"/v1/deadletters?stream=&reason=handler_error": {"internal.x"},
		"/v1/deadletters?order=newest&limit=2":         {"internal.x", "events.guild.join"},
		"/v1/deadletters?order=newest&cursor=2":        {"commands.interaction"},
		"/v1/deadletters?community=c1":                 {"commands.interaction", "events.guild.join"}, // a subject of no route has none
		"/v1/deadletters?community=c2":                 nil,
	} {
		if got, _ := list(path); !cmp.Equal(want, got) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if r := b.do(t, "GET", "/v1/deadletters?reason=malformed", ""); r.body != `{"deadletters":[]}`+"\n" {
		t.Errorf("of none: %s", r.body)
	}
	if _, link := list("/v1/deadletters?limit=1&reason=panic"); link != `</v1/deadletters?cursor=1&limit=1&reason=panic>; rel="next"` {
		t.Errorf("Link: %s", link)
	}
	b.do(t, "POST", "/v1/deadletters/3/replay", "").want(t, 409)
	r := b.do(t, "POST", "/v1/deadletters/1/replay", "").want(t, 200)
	if want := `{"seq":1,"stream":"COMMANDS","subject":"commands.interaction","sequence":1,"duplicate":false}` + "\n"; r.body != want {
		t.Errorf("%s, want %s", r.body, want)
	}
	b.do(t, "POST", "/v1/deadletters/1/replay", "").want(t, 404)
	if got, _ := list("/v1/deadletters"); len(got) != 2 {
		t.Errorf("left: %q", got)
	}
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.letter(t, "COMMANDS", contract.ReasonPanic, "commands.interaction", "c1")
	var got deadletter.Entry
	b.do(t, "GET", "/v1/deadletters/1", "").want(t, 200).decode(t, &got)
	if got.Community != "c1" || got.Headers[contract.HeaderSubject][0] != "commands.interaction" || got.Body == "" {
		t.Errorf("%+v", got)
	}
	b.do(t, "DELETE", "/v1/deadletters/1", "").want(t, 204)
	b.do(t, "DELETE", "/v1/deadletters/1", "").want(t, 404)
	b.do(t, "GET", "/v1/deadletters/1", "").want(t, 404)
}

// A bulk run over the API is made by whoever asks for the next part until there is none.
func TestBulk(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	run := func(path, body string) (total deadletter.Part) {
		t.Helper()
		for cursor := ""; ; {
			var part deadletter.Part
			r := b.do(t, "POST", path, strings.Replace(body, "}", fmt.Sprintf(`},"cursor":%q`, cursor), 1)).want(t, 200)
			r.decode(t, &part)
			total.Done, total.Gone, total.Progress = total.Done+part.Done, total.Gone+part.Gone, part.Progress
			total.Failed = append(total.Failed, part.Failed...)
			if cursor = part.Next; cursor == "" {
				return total
			}
		}
	}
	for i := range 450 {
		subject := "commands.interaction"
		if i == 10 {
			subject = "internal.x" // of no community
		}
		b.letter(t, "COMMANDS", contract.ReasonPanic, subject, fmt.Sprint("c", i%2))
	}
	if got := run("/v1/deadletters/replay", `{"filter":{"community":"c1"}}`); got.Done != 225 || got.Progress != 1 {
		t.Errorf("replay of c1: %+v", got)
	}
	got := run("/v1/deadletters/replay", `{"filter":{}}`)
	if got.Done != 224 || len(got.Failed) != 1 || got.Failed[0].Seq != 11 || !strings.Contains(got.Failed[0].Error, "internal.x") {
		t.Errorf("replay of all: %+v", got)
	}
	r := b.do(t, "POST", "/v1/deadletters/purge", `{"seqs":[11,12]}`).want(t, 200)
	if want := `{"done":1,"gone":1,"failed":[],"progress":1}` + "\n"; r.body != want {
		t.Errorf("%s, want %s", r.body, want)
	}
	for range 3 {
		b.letter(t, "EVENTS", contract.ReasonPanic, "events.guild.join", "c1")
	}
	if got := run("/v1/deadletters/purge", `{"filter":{"stream":"EVENTS"}}`); got.Done != 3 {
		t.Errorf("purge: %+v", got)
	}
}

// The audit log has one entry for each run, with what it was for, and none for what did nothing.
func TestBulkIsAudited(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for range 405 {
		b.letter(t, "COMMANDS", contract.ReasonPanic, "commands.interaction", "c1")
	}
	first := b.do(t, "POST", "/v1/deadletters/replay", `{"filter":{"community":"c1"}}`).want(t, 200)
	var part deadletter.Part
	first.decode(t, &part)
	b.do(t, "POST", "/v1/deadletters/replay", fmt.Sprintf(`{"filter":{"community":"c1"},"cursor":%q}`, part.Next)).want(t, 200)
	b.do(t, "POST", "/v1/deadletters/purge", `{"seqs":[404,405,1]}`).want(t, 200)
	b.do(t, "DELETE", "/v1/deadletters/403", "").want(t, 204)
	b.do(t, "POST", "/v1/deadletters/purge", `{"filter":{"stream":"EVENTS"}}`).want(t, 200) // there are none
	b.do(t, "POST", "/v1/deadletters/replay", `{"seqs":[1]}`).want(t, 200)
	var log struct {
		Entries []struct {
			Type, Target string
			After        json.RawMessage
		}
	}
	r := b.do(t, "GET", "/v1/audit", "").want(t, 200)
	r.decode(t, &log)
	var got []string
	for _, e := range log.Entries {
		got = append(got, e.Type+" "+e.Target+" "+string(e.After))
	}
	want := []string{
		"purge 403 ",
		`purge  {"seqs":[404,405,1],"done":2,"gone":1,"failed":0}`,
		fmt.Sprintf(`replay c1 {"filter":{"community":"c1"},"done":%d,"gone":0,"failed":0,"next":%q}`, part.Done, part.Next),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s\n%s", diff, r.body)
	}
}

// Who closes the connection while a part is done is in the audit log all the same.
func TestAuditOutlivesItsClient(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	gone, leave := context.WithCancel(store.WithOrigin(t.Context(), store.Origin{Actor: "api:admin"}))
	leave()
	a := &api{tenants: b.store, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	a.record(gone, store.AuditEntry{Type: store.AuditPurge, Target: "17"})
	page, err := b.store.Audit(t.Context(), store.AuditQuery{})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Actor != "api:admin" {
		t.Errorf("%+v, %v", page.Entries, err)
	}
}

// What was left out, or is empty by mistake, selects nothing.
func TestBulkRefuses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.letter(t, "COMMANDS", contract.ReasonPanic, "commands.interaction", "c1")
	for body, field := range map[string]string{
		``: "body", `[]`: "body", `null`: "body", `{}`: "seqs", `{"seqs":[]}`: "seqs", `{"seqs":[1],"filter":{}}`: "seqs",
		`{"seqs":["1"]}`: "seqs", `{"seqs":[-1]}`: "seqs", `{"seqs":[1.5]}`: "seqs", `{"filter":null}`: "seqs", `{"filter":[]}`: "filter",
		`{"filter":{"community":""}}`: "community", `{"filter":{"stream":"X"}}`: "stream", `{"filter":{"tier":"pro"}}`: "tier",
		`{"filter":{"community":7}}`: "filter", `{"filter":{},"cursor":"x"}`: "cursor", `{"filter":{},"limit":1}`: "limit",
		`{"seqs":[` + strings.Repeat("1,", deadletter.MaxSeqs) + `1]}`: "seqs",
	} {
		r := b.do(t, "POST", "/v1/deadletters/replay", body).want(t, http.StatusBadRequest)
		if p := r.problem(t); p.Field != field {
			t.Errorf("%.60s: %+v, want field %s", body, p, field)
		}
	}
	if got := b.do(t, "GET", "/v1/deadletters/1", "").status; got != 200 {
		t.Errorf("the dead letter is gone: %d", got)
	}
}
