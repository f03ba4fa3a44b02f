package discord

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// envelope is an interaction in the form of the contract.
type envelope struct {
	EventID     string       `json:"event_id"`
	EventType   string       `json:"event_type"`
	Timestamp   int64        `json:"timestamp,omitzero"` // Discord's clock, Unix ms
	CommunityID string       `json:"community_id,omitempty"`
	GuildID     string       `json:"guild_id,omitempty"`
	ChannelID   string       `json:"channel_id,omitempty"`
	UserID      string       `json:"user_id"`
	Data        envelopeData `json:"data"`
}

// envelopeData is what a handler is told of an interaction. What Discord has not sent is left out. It has all that
// [TargetOf] needs.
type envelopeData struct {
	InteractionID   string `json:"interaction_id"`
	ApplicationID   string `json:"application_id"`
	InteractionType string `json:"interaction_type"` // of Type.String
	Token           string `json:"interaction_token"`
	ChannelID       string `json:"channel_id,omitempty"`

	CommandName string                    `json:"command_name"` // the handler's
	CommandID   string                    `json:"command_id,omitempty"`
	CommandType int                       `json:"command_type,omitzero"`
	Subcommand  string                    `json:"subcommand,omitempty"` // after its group, if it has one
	Options     map[string]jsontext.Value `json:"options,omitzero"`     // of a command
	Focused     string                    `json:"focused,omitempty"`    // the option that the user types, of an autocomplete
	TargetID    string                    `json:"target_id,omitempty"`  // of a command on a user or a message

	CustomID      string                    `json:"custom_id,omitempty"`
	ComponentType int                       `json:"component_type,omitzero"`
	Values        []jsontext.Value          `json:"values,omitzero"` // of a menu
	Fields        map[string]jsontext.Value `json:"fields,omitzero"` // of a modal, by custom ID
	MessageID     string                    `json:"message_id,omitempty"`

	Resolved       jsontext.Value `json:"resolved,omitempty"`
	Locale         string         `json:"locale,omitempty"`
	GuildLocale    string         `json:"guild_locale,omitempty"`
	Member         jsontext.Value `json:"member,omitempty"`
	User           jsontext.Value `json:"user,omitempty"`
	AppPermissions jsontext.Value `json:"app_permissions,omitempty"`
	Context        jsontext.Value `json:"context,omitempty"`
	Owners         jsontext.Value `json:"authorizing_integration_owners,omitempty"`
	Entitlements   jsontext.Value `json:"entitlements,omitempty"`
}

// envelopeData reads the rest of an interaction: what only the handler needs. An error is a *[ParseError].
func (r *received) envelopeData() (d envelopeData, err error) {
	d = envelopeData{
		InteractionID: r.ID, ApplicationID: r.ApplicationID, InteractionType: r.Type.String(), Token: r.Token, ChannelID: r.ChannelID,
		MessageID: r.Message.ID, Locale: localeOf(r.Locale), GuildLocale: localeOf(r.GuildLocale), Member: r.Member, User: r.User,
		AppPermissions: r.AppPermissions, Context: r.Context, Owners: r.Owners, Entitlements: r.Entitlements,
	}
	switch {
	case absent(r.Data):
		err = &ParseError{"data", "is missing: expected an object"}
	case r.Type == Component:
		err = d.setComponent(r.Data)
	case r.Type == Modal:
		err = d.setModal(r.Data)
	default:
		err = d.setCommand(r.Data)
	}
	return d, err
}

// Envelope returns the interaction as the contract's envelope, which package contract decodes as a command with the
// interaction's ID, community and command. It has the token, and so is as secret. A [Ping] has none: Envelope panics.
func (i *Interaction) Envelope() ([]byte, error) {
	if i.Type == Ping {
		panic("discord: a ping has no envelope")
	}
	e := envelope{
		EventID: i.ID, EventType: "interaction.create",
		GuildID: i.GuildID, ChannelID: i.ChannelID, UserID: i.UserID, Data: i.data,
	}
	if i.GuildID == "" {
		e.CommunityID = i.Community()
	}
	if created, ok := Created(i.ID); ok {
		e.Timestamp = created.UnixMilli()
	}
	return json.Marshal(&e, json.Deterministic(true))
}
