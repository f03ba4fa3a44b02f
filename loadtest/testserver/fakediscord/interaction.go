package fakediscord

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Interaction is what a user does. [Slash], [Press], [Submit] and [Complete] make one.
type Interaction struct {
	Type    int      // 1 PING, 2 command, 3 component, 4 autocomplete, 5 modal
	Name    string   // of the command
	Options []Option // of the command

	CustomID string   // of the component or modal
	Values   []string // chosen in a select menu
	Fields   []Field  // of a modal
	Message  string   // the ID of the message with the component, whether it is kept or not

	Guild   string // "" for a direct message
	Channel string
	User    User
	Others  []User // whom options may name as well; who is named is in "resolved"

	Locale      string    // of the user; defaults to "en-US"
	GuildLocale string    // defaults to "en-US"
	Created     time.Time // defaults to now

	// Entitlements are those that the interaction carries. Defaults to what the user and the guild have now, as
	// [Server.Grant] says.
	Entitlements []Entitlement
	// Extra has further members, or others instead of those above, such as "context" or "data".
	Extra map[string]any
}

// Option is an option of a command, or a subcommand with its options.
type Option struct {
	Name    string   `json:"name"`
	Type    int      `json:"type"` // 1 subcommand, 2 group, 3 string, 4 integer, 5 boolean, 10 number, …
	Value   any      `json:"value,omitempty"`
	Options []Option `json:"options,omitempty"`
	Focused bool     `json:"focused,omitempty"` // the user types here: an autocomplete
}

// Field is a text field of a modal.
type Field struct{ CustomID, Value string }

// User is who does it.
type User struct {
	ID   string
	Name string
}

// Slash is a slash command with string options, given as name, value, name, value, ...
func Slash(name string, options ...string) Interaction {
	i := Interaction{Type: 2, Name: name}
	for n := 0; n+1 < len(options); n += 2 {
		i.Options = append(i.Options, Option{Name: options[n], Type: 3, Value: options[n+1]})
	}
	return i
}

// Press is a button that is pressed, or values that are chosen, on a message.
func Press(message, customID string, values ...string) Interaction {
	return Interaction{Type: 3, Message: message, CustomID: customID, Values: values}
}

// Submit is a modal that is sent.
func Submit(customID string, fields ...Field) Interaction {
	return Interaction{Type: 5, CustomID: customID, Fields: fields}
}

// Complete asks for the choices of a command's option, in which the user has typed the text.
func Complete(name, option, text string) Interaction {
	return Interaction{Type: 4, Name: name, Options: []Option{{Name: option, Type: 3, Value: text, Focused: true}}}
}

// In sets the guild and the channel.
func (i Interaction) In(guild, channel string) Interaction {
	i.Guild, i.Channel = guild, channel
	return i
}

// By sets the user's ID and name.
func (i Interaction) By(id, name string) Interaction {
	i.User = User{id, name}
	return i
}

// withDefaults returns the interaction with all that every interaction has.
func (i Interaction) withDefaults() Interaction {
	if i.Type == 0 {
		i.Type = 2
	}
	if i.Channel == "" {
		i.Channel = "1000000000000000001"
	}
	if i.User.ID == "" {
		i.User = User{"1000000000000000002", "alia"}
	}
	if i.Locale == "" {
		i.Locale = "en-US"
	}
	if i.GuildLocale == "" {
		i.GuildLocale = "en-US"
	}
	if i.Created.IsZero() {
		i.Created = time.Now()
	}
	return i
}

// did says what the user did, as a client shows it above the answer.
func (i Interaction) did() string {
	if i.Name == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("/" + i.Name)
	writeOptions(&b, i.Options)
	return b.String()
}

func writeOptions(b *strings.Builder, options []Option) {
	for _, o := range options {
		if o.Type <= 2 && o.Value == nil {
			b.WriteString(" " + o.Name)
		} else {
			fmt.Fprintf(b, " %s:%v", o.Name, o.Value)
		}
		writeOptions(b, o.Options)
	}
}

// body returns the interaction as Discord sends it. message is that of a component, nil if it is not kept.
func (s *Server) body(i Interaction, id, token string, message *Message) []byte {
	user := i.User.object()
	b := map[string]any{
		"id": id, "application_id": s.o.ApplicationID, "type": i.Type, "token": token, "version": 1,
		"channel_id": i.Channel, "channel": map[string]any{"id": i.Channel, "type": 0},
		"locale": i.Locale, "app_permissions": "562949953601536", "entitlements": i.Entitlements, "attachment_size_limit": 10 << 20,
	}
	if i.Guild != "" {
		b["guild_id"], b["guild_locale"], b["context"] = i.Guild, i.GuildLocale, 0
		b["guild"] = map[string]any{"id": i.Guild, "locale": i.GuildLocale, "features": []string{}}
		b["authorizing_integration_owners"] = map[string]string{"0": i.Guild}
		member := member()
		member["user"], member["deaf"], member["mute"] = user, false, false
		b["member"] = member
	} else {
		b["user"], b["context"] = user, 1
		b["authorizing_integration_owners"] = map[string]string{"1": i.User.ID}
	}
	if data := i.data(); data != nil {
		b["data"] = data
	}
	if i.Message != "" {
		b["message"] = message.object(i.Message, i.Channel, s.o.ApplicationID)
	}
	if i.Type == typePing {
		b = map[string]any{"id": id, "application_id": s.o.ApplicationID, "type": i.Type, "token": token, "version": 1}
	}
	for name, value := range i.Extra {
		b[name] = value
	}
	body, err := json.Marshal(b)
	if err != nil {
		panic(fmt.Sprintf("fakediscord: Extra or an option is no JSON: %v", err)) // a fault of the caller
	}
	return body
}

// data returns the member data.
func (i Interaction) data() map[string]any {
	switch i.Type {
	case typeCommand, typeAutocomplete:
		d := map[string]any{"id": commandID(i.Name), "name": i.Name, "type": 1}
		if len(i.Options) > 0 {
			d["options"] = i.Options
		}
		if resolved := i.resolved(); resolved != nil {
			d["resolved"] = resolved
		}
		return d
	case typeComponent:
		d := map[string]any{"custom_id": i.CustomID, "component_type": 2, "id": 1}
		if len(i.Values) > 0 {
			d["values"], d["component_type"] = i.Values, 3
		}
		return d
	case typeModal:
		rows := make([]any, 0, len(i.Fields))
		for _, f := range i.Fields {
			rows = append(rows, map[string]any{"type": 1, "components": []any{
				map[string]any{"type": 4, "custom_id": f.CustomID, "value": f.Value},
			}})
		}
		return map[string]any{"custom_id": i.CustomID, "components": rows}
	}
	return nil
}
