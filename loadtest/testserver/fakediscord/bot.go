package fakediscord

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Command is a registered command, as the API returns it.
type Command map[string]any

const (
	maxCommands     = 100 // of one scope and type
	maxEntitlements = 100 // in one answer
)

// commandName is the form of a slash command's name.
var commandName = regexp.MustCompile(`^[-_'\p{L}\p{N}]{1,32}$`)

// asBot runs a call only with the bot's token and for this application.
func (s *Server) asBot(c call) call {
	return func(r *http.Request, body []byte) (int, any, *apiError) {
		if r.Header.Get("Authorization") != "Bot "+s.o.BotToken {
			return 0, nil, errUnauthorized
		}
		if app := r.PathValue("app"); app != "@me" && app != s.o.ApplicationID {
			return 0, nil, errUnknownApplication
		}
		return c(r, body)
	}
}

// application returns the application.
func (s *Server) application(*http.Request, []byte) (int, any, *apiError) {
	return http.StatusOK, map[string]any{
		"id": s.o.ApplicationID, "name": "arrakis", "description": "", "verify_key": s.PublicKey(), "bot_public": true,
		"interactions_endpoint_url": nil, "event_webhooks_url": nil, "flags": 0,
	}, nil
}

// listCommands returns the commands of a guild, or the global ones.
func (s *Server) listCommands(r *http.Request, _ []byte) (int, any, *apiError) {
	return http.StatusOK, s.Commands(r.PathValue("guild")), nil
}

// Commands returns the registered commands of a guild, or with "" the global ones.
func (s *Server) Commands(guild string) []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Command{}, s.commands[guild]...)
}

// overwriteCommands replaces the commands of a guild, or the global ones. A command that was there keeps its ID.
func (s *Server) overwriteCommands(r *http.Request, body []byte) (int, any, *apiError) {
	guild := r.PathValue("guild")
	var commands []Command
	if json.Unmarshal(body, &commands) != nil {
		return 0, nil, &apiError{Status: 400, Code: 50109, Message: "The request body contains invalid JSON."}
	}
	if len(commands) > maxCommands {
		return 0, nil, &apiError{Status: 400, Code: 30032, Message: "Maximum number of application commands reached (100)."}
	}
	if fault := checkCommands(commands); fault != nil {
		return 0, nil, fault
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range commands {
		c["id"], c["application_id"], c["version"] = NewID(), s.o.ApplicationID, NewID()
		if guild != "" {
			c["guild_id"] = guild
		}
		for _, old := range s.commands[guild] {
			if old["name"] == c["name"] && old["type"] == c["type"] {
				c["id"] = old["id"]
			}
		}
	}
	s.commands[guild] = commands
	return http.StatusOK, append([]Command{}, commands...), nil
}

// checkCommands holds commands to the rules for names and descriptions, and gives them the type that is meant.
func checkCommands(commands []Command) *apiError {
	for n, c := range commands {
		if c["type"] == nil {
			c["type"] = 1.0
		}
		if c["type"] != 1.0 {
			continue
		}
		if name, _ := c["name"].(string); !commandName.MatchString(name) {
			return invalidForm(fmt.Sprintf("%d.name", n), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
		}
		if text, _ := c["description"].(string); text == "" {
			return invalidForm(fmt.Sprintf("%d.description", n), "BASE_TYPE_REQUIRED", "This field is required")
		}
	}
	return nil
}

// commandID is the ID that interactions have for a command, whether it is registered or not.
func commandID(name string) string {
	var sum uint64
	for _, c := range name {
		sum = sum*31 + uint64(c)
	}
	return strconv.FormatUint(1_100_000_000_000_000_000+sum%(1<<40), 10)
}

// Entitlement is what a guild or a user has bought.
type Entitlement struct {
	ID            string     `json:"id"`
	SKU           string     `json:"sku_id"`
	ApplicationID string     `json:"application_id"`
	Guild         string     `json:"guild_id,omitempty"`
	User          string     `json:"user_id,omitempty"`
	Type          int        `json:"type"` // 8: a subscription
	Deleted       bool       `json:"deleted"`
	Consumed      bool       `json:"consumed"`
	StartsAt      *time.Time `json:"starts_at"`
	EndsAt        *time.Time `json:"ends_at"`
}

// Grant makes an entitlement of a guild, or of a user, known. An ID that is known already is replaced: with EndsAt or
// Deleted, it ends. The ID, the application and the type have defaults. From then on interactions carry it.
func (s *Server) Grant(e Entitlement) Entitlement {
	e.ID, e.Type = cmp.Or(e.ID, NewID()), cmp.Or(e.Type, 8)
	e.ApplicationID = s.o.ApplicationID
	s.mu.Lock()
	defer s.mu.Unlock()
	n, found := slices.BinarySearchFunc(s.entitlements, e.ID, func(have Entitlement, id string) int { return compareIDs(have.ID, id) })
	if found {
		s.entitlements[n] = e
	} else {
		s.entitlements = slices.Insert(s.entitlements, n, e)
	}
	return e
}

// compareIDs compares by age.
func compareIDs(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// active returns what a guild and a user have at a time. It is never nil.
func (s *Server) active(guild, user string, at time.Time) []Entitlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []Entitlement{}
	for _, e := range s.entitlements {
		of := e.Guild != "" && e.Guild == guild || e.User != "" && e.User == user
		if of && !e.Deleted && (e.EndsAt == nil || e.EndsAt.After(at)) {
			found = append(found, e)
		}
	}
	return found
}

// listEntitlements returns a page of entitlements, the oldest first.
func (s *Server) listEntitlements(r *http.Request, _ []byte) (int, any, *apiError) {
	q := r.URL.Query()
	limit := maxEntitlements
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxEntitlements {
			return 0, nil, invalidForm("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.")
		}
		limit = n
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	page := []Entitlement{}
	for _, e := range s.entitlements {
		switch {
		case len(page) == limit,
			q.Get("after") != "" && compareIDs(e.ID, q.Get("after")) <= 0,
			q.Get("guild_id") != "" && e.Guild != q.Get("guild_id"),
			q.Get("user_id") != "" && e.User != q.Get("user_id"),
			q.Get("exclude_ended") == "true" && e.EndsAt != nil && !e.EndsAt.After(now),
			q.Get("exclude_deleted") != "false" && e.Deleted:
			continue
		}
		page = append(page, e)
	}
	return http.StatusOK, page, nil
}
