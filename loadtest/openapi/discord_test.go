package openapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

// Answers to Discord are as the document says, good and bad.
func TestDiscord(t *testing.T) {
	s := newSite(t, nil)
	post := func(path, body string, status int, header ...string) string {
		t.Helper()
		_, answer := s.ask(request{method: http.MethodPost, path: path, body: body, status: status, header: header})
		return answer
	}
	const interactions, events = "/discord/interactions", "/discord/events"
	issue := func(i fakediscord.Interaction) string { return string(s.discord.Issue(i.In("7", "8")).Body) }
	command := issue(fakediscord.Slash("ping"))
	for body, want := range map[string]string{
		`{"type":1}`: `{"type":1}`,
		command:      "pong",
		issue(fakediscord.Slash("nobody-handles-this")): `"type":`, // told, or told later
		issue(fakediscord.Slash("refuses")):             "not for you",
		issue(fakediscord.Press("5", "ping")):           "pong",
		issue(fakediscord.Submit("ping")):               "pong",
		issue(fakediscord.Complete("ping", "a", "b")):   `"choices":[]`,
	} {
		if got := post(interactions, body, 200); !strings.Contains(got, want) {
			t.Errorf("%s is answered %s, want %s", body, got, want)
		}
	}
	if got := post(interactions, command, 200); got != `{"type":5}` {
		t.Errorf("the same command again is answered %s, want that the answer follows", got)
	}
	post(events, `{"type":0}`, 204)
	bought := `{"type":1,"event":{"type":"ENTITLEMENT_CREATE","timestamp":"2024-10-18T18:41:21.109604","data":{"id":"1","sku_id":"2","guild_id":"7"}}}`
	post(events, bought, 204)
	post(events, `{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}`, 204)

	for _, body := range []string{
		`{}`, `[]`, `{`, `{"type":0}`, `{"type":6}`, `{"type":"1"}`, `{"type":2}`, strings.Replace(command, `"guild_id":"7"`, `"guild_id":"a"`, 1),
		strings.Replace(command, `"channel_id":"8"`, `"channel_id":8`, 1),
	} {
		post(interactions, body, 400)
	}
	s.ask(request{method: http.MethodPost, path: interactions, body: `{"type":1,"type":1}`, status: 400, disagrees: true}) // said in words
	for _, body := range []string{`{}`, `[]`, `{`, `{"type":2}`, `{"type":1}`, `{"type":1,"event":{}}`} {
		post(events, body, 400)
	}
	for path, body := range map[string]string{interactions: issue(fakediscord.Slash("ping")), events: bought} {
		post(path, body, 401, fakediscord.HeaderSignature, strings.Repeat("0", 128))
		old := make(http.Header)
		s.discord.Sign(old, []byte(body), time.Now().Add(-time.Hour))
		post(path, body, 401, fakediscord.HeaderSignature, old.Get(fakediscord.HeaderSignature), fakediscord.HeaderTimestamp, old.Get(fakediscord.HeaderTimestamp))
		post(path, body, 415, "Content-Type", "text/plain")
		post(path, `{"type":1,"x":"`+strings.Repeat("x", 262_144)+`"}`, 413)
	}
	s.notSeen("discord",
		"408",                      // a slow client
		"POST /discord/events 503", // Redis is away
	)
}
