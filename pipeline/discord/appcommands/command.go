package appcommands

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Type is the type of a command, as Discord numbers them.
type Type int

// The types of commands.
const (
	ChatInput  Type = 1 // typed after a slash
	User       Type = 2 // in the menu of a user
	Message    Type = 3 // in the menu of a message
	EntryPoint Type = 4 // opens the application's activity
)

// String is the type for people.
func (t Type) String() string {
	switch t {
	case ChatInput:
		return "slash command"
	case User:
		return "user command"
	case Message:
		return "message command"
	case EntryPoint:
		return "entry point command"
	}
	return fmt.Sprintf("command of type %d", int(t))
}

// Command is an application command in Discord's form.
type Command struct {
	Type Type `json:"type,omitzero"` // of a file, 0 is ChatInput
	texts
	Options            []Option `json:"options,omitempty"`
	DefaultPermissions *string  `json:"default_member_permissions,omitempty"`
	DMPermission       *bool    `json:"dm_permission,omitempty"`
	NSFW               bool     `json:"nsfw,omitzero"`
	IntegrationTypes   []int    `json:"integration_types,omitempty"`
	Contexts           []int    `json:"contexts,omitempty"`
	Handler            int      `json:"handler,omitzero"`
	setByDiscord
}

// Option is a parameter of a command, or a subcommand, or a group of these.
type Option struct {
	Type OptionType `json:"type"`
	texts
	Required     bool           `json:"required,omitzero"`
	Choices      []Choice       `json:"choices,omitempty"`
	Options      []Option       `json:"options,omitempty"`
	ChannelTypes []int          `json:"channel_types,omitempty"`
	MinValue     jsontext.Value `json:"min_value,omitzero"`
	MaxValue     jsontext.Value `json:"max_value,omitzero"`
	MinLength    *int           `json:"min_length,omitempty"`
	MaxLength    *int           `json:"max_length,omitempty"`
	Autocomplete bool           `json:"autocomplete,omitzero"`
}

// OptionType is the type of an option, as Discord numbers them.
type OptionType int

// The types of options that have rules of their own. All others are between them.
const (
	Subcommand OptionType = 1
	Group      OptionType = 2
	String     OptionType = 3
	Integer    OptionType = 4
	Channel    OptionType = 7
	Number     OptionType = 10
	Attachment OptionType = 11
)

// texts are what users see of a command or option.
type texts struct {
	Name                     string            `json:"name"`
	NameLocalizations        map[string]string `json:"name_localizations,omitempty"`
	Description              string            `json:"description,omitzero"`
	DescriptionLocalizations map[string]string `json:"description_localizations,omitempty"`
	NameLocalized            string            `json:"name_localized,omitzero"`        // set by Discord
	DescriptionLocalized     string            `json:"description_localized,omitzero"` // set by Discord
}

// Choice is a value that a user may choose for an option.
type Choice struct {
	Name              string            `json:"name"`
	NameLocalizations map[string]string `json:"name_localizations,omitempty"`
	NameLocalized     string            `json:"name_localized,omitzero"` // set by Discord
	Value             jsontext.Value    `json:"value"`                   // a string or a number
}

// setByDiscord are members that Discord sets. They are known so that what Discord has sent can be a file, and are dropped.
type setByDiscord struct {
	ID                string `json:"id,omitzero"`
	ApplicationID     string `json:"application_id,omitzero"`
	GuildID           string `json:"guild_id,omitzero"`
	Version           string `json:"version,omitzero"`
	DefaultPermission *bool  `json:"default_permission,omitempty"` // no longer in use
}
