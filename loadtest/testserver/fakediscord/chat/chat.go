package chat

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/http/problem"
)

const (
	maxBody     = 64 << 10 // bytes of a request
	maxMessages = 100      // in a place
	maxStreams  = 64
	maxTimes    = 50 // times that one request may use a command
	atOnce      = 10 // of these, how many run at once
)

// Guild is a guild that the chat offers.
type Guild struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Note string `json:"note"` // shown beside its name
}

// Options configures a chat.
type Options struct {
	// Discord is the fake Discord. Required.
	Discord *fakediscord.Server
	// Interactions and Events are the URLs of the application's endpoints. Required.
	Interactions, Events string
	// Guilds are the guilds that the chat offers, beside direct messages.
	Guilds []Guild
	// Users are whom one can be. One is required.
	Users []fakediscord.User
	// SKU is what can be bought. Defaults to none.
	SKU string
	// Done ends all streams when it is closed. Required.
	Done <-chan struct{}
}

// directMessage is the ID of the place of direct messages.
const directMessage = "dm"

// locales are the languages that one can have, those first in which arrakis speaks.
var locales = []locale{
	{"en-US", "English"},
	{"de", "Deutsch"},
	{"fr", "Français"},
	{"es-ES", "Español"},
	{"pt-BR", "Português do Brasil"},
	{"ja", "日本語"},
	{"nl", "Nederlands"},
}

type locale struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// chat is the state of a chat.
type chat struct {
	// Set by New, read-only.
	o       Options
	streams chan struct{} // has a value for each open stream

	mu     sync.Mutex // protects the field below
	bought map[string]fakediscord.Entitlement
}

// New returns the handler of a chat, which serves paths under /discord/; see the package comment. It is safe for
// concurrent use. New panics if an option is missing.
func New(o Options) http.Handler {
	if o.Discord == nil || o.Interactions == "" || o.Events == "" || len(o.Users) == 0 || o.Done == nil {
		panic("chat: an option is missing that is required")
	}
	c := &chat{o: o, streams: make(chan struct{}, maxStreams), bought: make(map[string]fakediscord.Entitlement)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /discord/start", c.start)
	mux.HandleFunc("GET /discord/messages", c.messages)
	mux.HandleFunc("POST /discord/interactions", c.interactions)
	mux.HandleFunc("POST /discord/premium", c.premium)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { deny(w, problem.NotFound(r)) })
	return mux
}

// start answers with what there is to choose from.
func (c *chat) start(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{
		"places": append(slices.Clone(c.o.Guilds), Guild{directMessage, "Direct message", "a limit for each user"}),
		"users":  c.users(), "locales": locales, "commands": c.o.Discord.Commands(""), "sells": c.o.SKU != "",
	})
}

// user is a user as the page gets it.
type user struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (c *chat) users() []user {
	users := make([]user, len(c.o.Users))
	for i, u := range c.o.Users {
		users[i] = user(u)
	}
	return users
}

// place is where somebody is, and who.
type place struct {
	guild   string // "" for direct messages
	channel string
	user    fakediscord.User
}

// place finds a place and a user by their IDs. Each place has one channel.
func (c *chat) place(id, userID string) (place, *problem.Problem) {
	u := slices.IndexFunc(c.o.Users, func(u fakediscord.User) bool { return u.ID == userID })
	if u < 0 {
		return place{}, problem.Malformed("user", "there is none of this ID")
	}
	p := place{user: c.o.Users[u], channel: userID}
	if id == directMessage {
		return p, nil
	}
	if !slices.ContainsFunc(c.o.Guilds, func(g Guild) bool { return g.ID == id }) {
		return p, problem.Malformed("place", "there is none of this ID")
	}
	p.guild, p.channel = id, id
	return p, nil
}

// read reads the body of a request into v.
func read(w http.ResponseWriter, r *http.Request, v any) *problem.Problem {
	rules := body.Rules{MaxBytes: maxBody, Types: []string{body.JSON}, TooLarge: "Say less."}
	text, p := rules.Read(w, r)
	if p == nil && json.Unmarshal(text, v) != nil {
		p = problem.Malformed("body", "is not the JSON that this path takes")
	}
	return p
}

// answer answers with JSON. An error only means that the client is gone.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", body.JSON)
	_ = json.NewEncoder(w).Encode(v)
}

// deny answers with a problem. An error only means that the client is gone.
func deny(w http.ResponseWriter, p *problem.Problem) { _ = p.Write(w) }
