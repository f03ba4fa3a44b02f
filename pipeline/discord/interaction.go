package discord

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/contract"
)

// Interaction is what a user has done, as Discord tells it. [Parse] makes it; it must not be changed.
type Interaction struct {
	ID            string // it is the event ID of the interaction's envelope
	ApplicationID string
	Token         string // a secret; see [Target]
	Type          Type
	GuildID       string // "" in a direct message
	ChannelID     string // "" if Discord has not sent it
	UserID        string // who has done it
	Locale        string // of the user; "" if it is not known
	Command       string // the name of the handler
	CustomID      string // of a component or a modal
	Entitlements  []Entitlement
	// EntitlementsUnclear says that Entitlements are not all: Discord has sent none, or some in a form that is not known.
	EntitlementsUnclear bool

	data envelopeData
}

// Community is the community that the interaction counts for: the guild, or the user in a direct message.
func (i *Interaction) Community() string { return communityOf(i.GuildID, i.UserID) }

func communityOf(guildID, userID string) string {
	if guildID != "" {
		return guildID
	}
	return "user:" + userID
}

// Target says where the answer goes.
func (i *Interaction) Target() Target {
	return Target{
		ApplicationID: i.ApplicationID, InteractionID: i.ID, Token: i.Token,
		Type: i.Type, Channel: i.ChannelID, Locale: i.Locale,
	}
}

// ParseError says why a body of Discord is refused.
type ParseError struct {
	Field  string // the member at fault, such as data.options.0.name; "" for the body as a whole
	Detail string // what is wrong, or what is expected instead; it never quotes a value
}

// Error returns the field, if any, and the detail.
func (e *ParseError) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

// maxNesting is how deep a body may nest. Interactions with a resolved message have some ten levels.
const maxNesting = 100

// received is an interaction as Discord sends it. What arrakis only passes on is raw.
type received struct {
	ID             string         `json:"id"`
	ApplicationID  string         `json:"application_id"`
	Type           Type           `json:"type"`
	Token          string         `json:"token"`
	GuildID        string         `json:"guild_id"`
	ChannelID      string         `json:"channel_id"`
	Member         jsontext.Value `json:"member"`
	User           jsontext.Value `json:"user"`
	Message        withID         `json:"message"`
	Locale         string         `json:"locale"`
	GuildLocale    string         `json:"guild_locale"`
	AppPermissions jsontext.Value `json:"app_permissions"`
	Context        jsontext.Value `json:"context"`
	Owners         jsontext.Value `json:"authorizing_integration_owners"`
	Entitlements   jsontext.Value `json:"entitlements"`
	Data           jsontext.Value `json:"data"`
}

// Parse reads the body of a request of Discord. Of a [Ping] it returns the type alone. An error is a *[ParseError].
// Members that it does not know pass, but a body that is not strict JSON does not, nor one in which a member has the
// wrong type. Entitlements are the exception: a new form of them must not keep a user's command from being answered.
func Parse(body []byte) (*Interaction, error) {
	var r received
	if err := unmarshal(body, "", &r); err != nil {
		return nil, err
	}
	switch r.Type {
	case Ping:
		return &Interaction{Type: Ping}, nil
	case Command, Component, Autocomplete, Modal:
	default:
		return nil, &ParseError{"type", "is of no type that is known: expected 1 to 5"}
	}
	i := &Interaction{
		ID: r.ID, ApplicationID: r.ApplicationID, Token: r.Token, Type: r.Type, GuildID: r.GuildID, ChannelID: r.ChannelID,
		Locale: localeOf(r.Locale),
	}
	if err := r.checkIDs(); err != nil {
		return nil, err
	}
	if !ValidToken(r.Token) {
		return nil, &ParseError{"token", "expected 1 to 512 visible ASCII characters without quotes and backslashes"}
	}
	var err error
	if i.UserID, err = r.userID(); err != nil {
		return nil, err
	}
	i.Entitlements, i.EntitlementsUnclear = clearEntitlements(r.Entitlements)
	if i.data, err = r.envelopeData(); err != nil {
		return nil, err
	}
	i.Command, i.CustomID = i.data.CommandName, i.data.CustomID
	return i, nil
}

// checkIDs checks the IDs that an interaction must have, and those that it may have.
func (r *received) checkIDs() error {
	for _, id := range []struct {
		field, value string
		required     bool
	}{
		{"id", r.ID, true},
		{"application_id", r.ApplicationID, true},
		{"guild_id", r.GuildID, false},
		{"channel_id", r.ChannelID, false},
		{"message.id", r.Message.ID, false},
	} {
		if id.value == "" && !id.required {
			continue
		}
		if err := checkID(id.field, id.value); err != nil {
			return err
		}
	}
	return nil
}

// withID is the part of a user or a message that arrakis reads.
type withID struct {
	ID string `json:"id"`
}

// userID returns the ID of the user, who is a member in a guild.
func (r *received) userID() (string, error) {
	if r.GuildID == "" && !absent(r.User) {
		var u withID
		if err := unmarshal(r.User, "user", &u); err != nil {
			return "", err
		}
		return u.ID, checkID("user.id", u.ID)
	}
	if absent(r.Member) {
		return "", &ParseError{"user", "is missing, and member is too: expected one of them"}
	}
	var m struct {
		User withID `json:"user"`
	}
	if err := unmarshal(r.Member, "member", &m); err != nil {
		return "", err
	}
	return m.User.ID, checkID("member.user.id", m.User.ID)
}

// checkID returns an error unless id is one.
func checkID(field, id string) error {
	if ValidID(id) {
		return nil
	}
	return &ParseError{field, "expected an ID as a string of 1 to 20 digits"}
}

// unmarshal reads JSON that is the member of the given name, or the whole body for "". An error is a *[ParseError].
func unmarshal(text []byte, member string, into any) error {
	if member == "" && nesting(text) > maxNesting {
		return &ParseError{"", fmt.Sprintf("the body nests deeper than %d levels", maxNesting)}
	}
	err := json.Unmarshal(text, into)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		return &ParseError{fieldOf(member, wrong.JSONPointer), "has the wrong type: expected " + typeName(wrong.GoType)}
	}
	broken, _ := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &ParseError{fieldOf(member, broken.JSONPointer), "is twice in one object"}
	case broken != nil:
		return &ParseError{member, fmt.Sprintf("expected one JSON object in UTF-8: byte %d is wrong, or the end", broken.ByteOffset)}
	default:
		return &ParseError{member, "expected one JSON object in UTF-8"}
	}
}

// maxField is how many bytes of a field an error names: its tokens may come from the body.
const maxField = 128

// fieldOf is the name of the member that pointer leads to, such as data.options.0.name.
func fieldOf(member string, pointer jsontext.Pointer) string {
	name := strings.ReplaceAll(string(pointer), "/", ".")
	if member == "" {
		name = strings.TrimPrefix(name, ".")
	}
	return contract.Clip(member+name, maxField)
}

// typeName says which JSON a Go type takes.
func typeName(t reflect.Type) string {
	if t == nil {
		return "another one"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int:
		return "an integer"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

// nesting returns how deep a JSON text nests. Of text that is no JSON it returns some number.
func nesting(text []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// absent reports whether a raw member was left out, or is null.
func absent(v jsontext.Value) bool { return len(v) == 0 || bytes.Equal(v, []byte("null")) }
