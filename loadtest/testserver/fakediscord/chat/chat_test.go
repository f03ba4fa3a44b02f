package chat

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

const (
	guild = "100"
	paul  = "201"
	chani = "202"
)

// bed is a chat with a fake Discord, whose application is app.
type bed struct {
	fake *fakediscord.Server
	url  string
	done chan struct{}
	app  http.HandlerFunc // set before it is asked
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{fake: fakediscord.New(fakediscord.Options{}), done: make(chan struct{})}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.app(w, r) }))
	s := httptest.NewServer(New(Options{
		Discord: b.fake, Interactions: app.URL + "/interactions", Events: app.URL + "/events", SKU: "300", Done: b.done,
		Guilds: []Guild{{ID: guild, Name: "Arrakeen"}}, Users: []fakediscord.User{{ID: paul, Name: "paul"}, {ID: chani, Name: "chani"}},
	}))
	b.url = s.URL
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
		app.Close()
		_ = b.fake.Close()
	})
	return b
}

// says makes the application answer an interaction with a response.
func says(response string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, response)
	}
}

// post returns the status and the body of an answer.
func (b *bed) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	r, err := http.Post(b.url+path, "application/json", strings.NewReader(body)) //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSpace(string(text))
}

// stream are the events of a place that are seen by a user. It ends with the test.
func (b *bed) stream(t *testing.T, place, user string) func() seenEvent {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/discord/messages?place="+place+"&user="+user, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	return func() seenEvent {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e seenEvent
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				return e
			}
		}
		return seenEvent{Ended: true}
	}
}

type seenEvent struct {
	Messages []message
	Bought   bool
	Ended    bool
}

// texts are what messages say, "thinking" for one that is not there yet.
func (e seenEvent) texts() string {
	var texts []string
	for _, m := range e.Messages {
		text := m.Content + m.Failed
		if m.Thinking {
			text = "thinking"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// await reads events until one shows the text.
func await(t *testing.T, next func() seenEvent, text string) seenEvent {
	t.Helper()
	for {
		e := next()
		if e.Ended {
			t.Fatalf("the stream ended before it showed %q", text)
		}
		if e.texts() == text {
			return e
		}
	}
}

// deedOf is the body of an interaction of a user in the guild.
func deedOf(user, more string) string {
	return fmt.Sprintf(`{"place":%q,"user":%q,"locale":"de",%s}`, guild, user, more)
}

func TestStart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r, err := http.Get(b.url + "/discord/start") //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // only read
	var got struct {
		Places, Users, Locales, Commands []struct{ ID string }
		Sells                            bool
	}
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Places) != 2 || got.Places[0].ID != guild || got.Places[1].ID != "dm" || len(got.Users) != 2 || got.Users[1].ID != chani ||
		len(got.Locales) < 6 || got.Commands == nil || !got.Sells {
		t.Errorf("%+v", got)
	}
}

// What a user does reaches the application in Discord's form, and its answer whoever may see it.
func TestInteraction(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	asked := make(chan string, 1)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		var i struct {
			GuildID string `json:"guild_id"`
			Locale  string
			Member  struct{ User struct{ ID string } }
			Data    json.RawMessage
		}
		_ = json.NewDecoder(r.Body).Decode(&i) // what is missing is seen below
		asked <- fmt.Sprint(i.GuildID, " ", i.Member.User.ID, " ", i.Locale, " ", strings.Contains(string(i.Data), `"value":3`))
		says(`{"type":4,"data":{"content":"pong"}}`)(w, r)
	}
	next, other := b.stream(t, guild, paul), b.stream(t, "dm", paul)
	if got := next().texts() + other().texts(); got != "" {
		t.Errorf("at first: %q", got)
	}
	status, body := b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping","options":[{"name":"n","type":4,"value":3}]`))
	if status != http.StatusOK || body != `{"type":4,"data":{"content":"pong"}}` {
		t.Errorf("%d %s", status, body)
	}
	if got, want := <-asked, guild+" "+paul+" de true"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	seen := await(t, next, "pong")
	want := []message{{User: paul, Did: "/ping n:3", Content: "pong"}}
	if len(seen.Messages) == 1 {
		want[0].ID, want[0].At = seen.Messages[0].ID, seen.Messages[0].At
	}
	if diff := cmp.Diff(want, seen.Messages); diff != "" {
		t.Error(diff)
	}
	if got := other().texts(); got != "" { // a change elsewhere is sent too
		t.Errorf("another place shows %q", got)
	}
}

// Users whom options name are in what is resolved.
func TestResolved(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	asked := make(chan []byte, 1)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is seen below
		asked <- body
		says(`{"type":4,"data":{"content":"warned"}}`)(w, r)
	}
	b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"warn","options":[{"name":"now","type":1,"options":[
		{"name":"who","type":6,"value":"202"},{"name":"other","type":6,"value":"9"},{"name":"text","type":3,"value":"201"}]}]`))
	var i struct {
		Data struct {
			Resolved struct {
				Users   map[string]struct{ Username string }
				Members map[string]struct{ Permissions string }
			}
		}
	}
	if err := json.Unmarshal(<-asked, &i); err != nil {
		t.Fatal(err)
	}
	if r := i.Data.Resolved; len(r.Users) != 1 || r.Users[chani].Username != "chani" || len(r.Members) != 1 || r.Members[chani].Permissions == "" {
		t.Errorf("resolved: %+v", r)
	}
}

// An ephemeral message is for its user alone.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.app = says(`{"type":4,"data":{"content":"no","flags":64}}`)
	b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping"`))
	if got := b.stream(t, guild, paul)(); got.texts() != "no" || !got.Messages[0].Ephemeral {
		t.Errorf("%+v", got)
	}
	if got := b.stream(t, guild, chani)().texts(); got != "" {
		t.Errorf("somebody else sees %q", got)
	}
}

// A deferral is seen, and what takes its place.
func TestDeferred(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	token := make(chan string, 1)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		var i struct{ Token string }
		_ = json.NewDecoder(r.Body).Decode(&i) // the edit is refused without
		token <- i.Token
		says(`{"type":5}`)(w, r)
	}
	next := b.stream(t, guild, paul)
	next()
	b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"sleep"`))
	await(t, next, "thinking")
	path := fakediscord.Base + "/webhooks/" + b.fake.ApplicationID() + "/" + <-token + "/messages/@original"
	edit := httptest.NewRequest(http.MethodPatch, path, strings.NewReader(`{"content":"slept"}`))
	edit.Header.Set("Content-Type", "application/json")
	b.fake.ServeHTTP(httptest.NewRecorder(), edit)
	await(t, next, "slept")
}

// An application that breaks a rule of Discord is told so.
func TestRuleBroken(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.app = says(`pong`)
	status, body := b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping"`))
	if status != http.StatusOK || !strings.Contains(body, `"rule":"the answer is no JSON`) {
		t.Errorf("%d %s", status, body)
	}
	if got := b.stream(t, guild, paul)().texts(); got != "The application did not respond" {
		t.Errorf("%q", got)
	}
}

// A flood is as many interactions, some of them at once.
func TestFlood(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var asked atomic.Int64
	b.app = func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		says(`{"type":4,"data":{"content":"pong"}}`)(w, r)
	}
	if status, body := b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping","times":20`)); status != http.StatusOK || asked.Load() != 20 {
		t.Errorf("%d %s, %d interactions", status, body, asked.Load())
	}
	if got := len(b.stream(t, guild, paul)().Messages); got != 20 {
		t.Errorf("%d messages", got)
	}
}

// A place shows its newest messages.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.app = says(`{"type":4,"data":{"content":"pong"}}`)
	for range 3 {
		b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping","times":50`))
	}
	b.app = says(`{"type":4,"data":{"content":"last"}}`)
	b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping"`))
	if got := b.stream(t, guild, paul)().Messages; len(got) != maxMessages || got[maxMessages-1].Content != "last" {
		t.Errorf("%d messages, the last %+v", len(got), got[len(got)-1])
	}
}

// What is bought is told by an event, and by each further interaction, until it ends.
func TestPremium(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	told := make(chan string, 1)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			var e struct {
				Event struct {
					Type string
					Data fakediscord.Entitlement
				}
			}
			_ = json.NewDecoder(r.Body).Decode(&e) // what is missing is seen below
			told <- fmt.Sprint(e.Event.Type, " ", e.Event.Data.SKU, " ", e.Event.Data.Guild, e.Event.Data.User)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		var i struct{ Entitlements []fakediscord.Entitlement }
		_ = json.NewDecoder(r.Body).Decode(&i) // what is missing is seen below
		says(fmt.Sprintf(`{"type":4,"data":{"content":"%d"}}`, len(i.Entitlements)))(w, r)
	}
	for _, tt := range []struct{ place, has, told, carried string }{
		{guild, "true", "ENTITLEMENT_CREATE 300 " + guild, "1"},
		{guild, "true", "", "1"}, // it has it already
		{guild, "false", "ENTITLEMENT_DELETE 300 " + guild, "0"},
		{"dm", "true", "ENTITLEMENT_CREATE 300 " + paul, "1"}, // a user's counts everywhere
	} {
		status, body := b.post(t, "/discord/premium", fmt.Sprintf(`{"place":%q,"user":%q,"has":%s}`, tt.place, paul, tt.has))
		if status != http.StatusOK || body != "{}" {
			t.Errorf("%v: %d %s", tt, status, body)
		}
		if tt.told != "" {
			if got := <-told; got != tt.told {
				t.Errorf("told %q, want %q", got, tt.told)
			}
		}
		if _, body := b.post(t, "/discord/interactions", deedOf(paul, `"type":2,"name":"ping"`)); !strings.Contains(body, `"content":"`+tt.carried+`"`) {
			t.Errorf("%v: carried %s", tt, body)
		}
		if got := b.stream(t, tt.place, paul)().Bought; got != (tt.has == "true") {
			t.Errorf("%v: bought is %t", tt, got)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, tt := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/discord/interactions", `{`, 400, "body"},
		{"/discord/interactions", deedOf("9", `"type":2`), 400, "user"},
		{"/discord/interactions", strings.Replace(deedOf(paul, `"type":2`), guild, "9", 1), 400, "place"},
		{"/discord/interactions", deedOf(paul, `"type":1`), 400, "type"},
		{"/discord/interactions", deedOf(paul, `"type":2,"times":51`), 400, "times"},
		{"/discord/interactions", deedOf(paul, `"type":2,"name":"`+strings.Repeat("x", maxBody)+`"`), 413, "body"},
		{"/discord/premium", `{"place":"9","user":"9"}`, 400, "user"},
		{"/discord/none", `{}`, 404, "not-found"},
	} {
		if status, body := b.post(t, tt.path, tt.body); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %.80s: %d %s", tt.path, tt.body, status, body)
		}
	}
}

// Streams are bounded, and end with the process.
func TestStreams(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	streams := make([]func() seenEvent, maxStreams)
	for i := range streams {
		streams[i] = b.stream(t, guild, paul)
		streams[i]() // it is open
	}
	if got := b.stream(t, guild, paul)(); !got.Ended {
		t.Errorf("one more: %+v", got)
	}
	close(b.done)
	for i, next := range streams {
		ended := make(chan bool, 1)
		go func() { ended <- next().Ended }()
		select {
		case yes := <-ended:
			if !yes {
				t.Errorf("stream %d goes on", i)
			}
		case <-time.After(testserver.Patience):
			t.Fatalf("stream %d does not end", i)
		}
	}
}
