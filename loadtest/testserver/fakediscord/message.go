package fakediscord

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
)

// The bounds of a message.
const (
	maxContent = 2_000 // characters; counted in UTF-16 units, which is never too lenient
	maxEmbeds  = 10
	flagHidden = 64 // ephemeral
)

// message is a message as an application sends it. A nil member is absent, or null.
type message struct {
	Content    *string           `json:"content"`
	Embeds     []json.RawMessage `json:"embeds"`
	Components []json.RawMessage `json:"components"`
	Flags      int               `json:"flags"`
	Poll       json.RawMessage   `json:"poll"`
	Stickers   []json.RawMessage `json:"sticker_ids"`
	Files      []json.RawMessage `json:"attachments"`

	named map[string]json.RawMessage // all members that there are, also those that are null
}

// parseMessage checks the form of a message.
func parseMessage(body []byte) (*message, *apiError) {
	var m message
	if err := errors.Join(json.Unmarshal(body, &m), json.Unmarshal(body, &m.named)); err != nil {
		return nil, &apiError{Status: 400, Code: 50109, Message: "The request body contains invalid JSON."}
	}
	if m.Content != nil && len(utf16.Encode([]rune(*m.Content))) > maxContent {
		return nil, invalidForm("content", "BASE_TYPE_MAX_LENGTH", fmt.Sprintf("Must be %d or fewer in length.", maxContent))
	}
	if len(m.Embeds) > maxEmbeds {
		return nil, invalidForm("embeds", "BASE_TYPE_MAX_LENGTH", fmt.Sprintf("Must be %d or fewer in length.", maxEmbeds))
	}
	return &m, nil
}

// empty reports whether the message would show nothing.
func (m *message) empty() bool {
	return (m.Content == nil || *m.Content == "") &&
		len(m.Embeds)+len(m.Components)+len(m.Poll)+len(m.Stickers)+len(m.Files) == 0
}

// applyTo changes what the message names, as an edit does. What is null goes.
func (m *message) applyTo(to *Message) {
	if _, ok := m.named["content"]; ok {
		to.Content = *cmp.Or(m.Content, new(string))
	}
	if _, ok := m.named["embeds"]; ok {
		to.Embeds = m.Embeds
	}
	if _, ok := m.named["components"]; ok {
		to.Components = m.Components
	}
}

// object returns the message as the API does. A nil message is one that is not kept.
func (m *Message) object(id, channel, application string) map[string]any {
	if m == nil {
		m = &Message{At: time.Now()}
	}
	o := map[string]any{
		"id": id, "channel_id": channel, "type": 20, "application_id": application, "webhook_id": application,
		"author":  map[string]any{"id": application, "username": "arrakis", "bot": true},
		"content": m.Content, "embeds": orEmpty(m.Embeds), "components": orEmpty(m.Components), "attachments": []any{},
		"flags": 0, "timestamp": m.At.UTC().Format(time.RFC3339Nano), "edited_timestamp": nil,
	}
	if m.Ephemeral {
		o["flags"] = flagHidden
	}
	if !m.Edited.IsZero() {
		o["edited_timestamp"] = m.Edited.UTC().Format(time.RFC3339Nano)
	}
	return o
}

// orEmpty returns an array that JSON shows as [] and not as null.
func orEmpty(list []json.RawMessage) []json.RawMessage {
	if list == nil {
		return []json.RawMessage{}
	}
	return list
}
