package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline"
)

// What the built-in commands answer to users of Discord, in Discord's form. Everybody else gets plain results.

// interaction is what the data of a message says of an interaction. It is zero for other messages.
type interaction struct {
	Type     string            `json:"interaction_type"` // command, component or modal
	Options  map[string]any    `json:"options"`
	CustomID string            `json:"custom_id"`
	Values   []string          `json:"values"`
	Fields   map[string]string `json:"fields"`
}

func interactionOf(m *pipeline.Message) (interaction, error) {
	var i interaction
	if len(m.Data) == 0 {
		return i, nil
	}
	if err := json.Unmarshal(m.Data, &i); err != nil {
		return i, pipeline.Permanent(http.StatusBadRequest, "data: expected an interaction")
	}
	return i, nil
}

// toDiscord handles interactions by shown, and all other messages by plain.
func toDiscord(plain, shown pipeline.Handler) pipeline.Handler {
	return func(ctx context.Context, m *pipeline.Message) (any, error) {
		if i, err := interactionOf(m); err == nil && i.Type != "" {
			return shown(ctx, m)
		}
		return plain(ctx, m)
	}
}

// The parts of a message of Discord that the demo uses.
type (
	discordMessage struct {
		Content    string             `json:"content,omitempty"`
		Embeds     []discordEmbed     `json:"embeds,omitempty"`
		Components []discordComponent `json:"components,omitempty"`
		Flags      int                `json:"flags,omitempty"`
	}
	discordEmbed struct {
		Title       string         `json:"title,omitempty"`
		Description string         `json:"description,omitempty"`
		Color       int            `json:"color,omitempty"`
		Fields      []discordField `json:"fields,omitempty"`
	}
	discordField struct {
		Name   string `json:"name"`
		Value  string `json:"value"`
		Inline bool   `json:"inline,omitempty"`
	}
	discordComponent struct {
		Type        int                `json:"type"`
		Style       int                `json:"style,omitempty"`
		Label       string             `json:"label,omitempty"`
		CustomID    string             `json:"custom_id,omitempty"`
		Placeholder string             `json:"placeholder,omitempty"`
		MaxLength   int                `json:"max_length,omitempty"`
		Options     []discordChoice    `json:"options,omitempty"`
		Components  []discordComponent `json:"components,omitempty"`
	}
	discordChoice struct {
		Label string `json:"label"`
		Value string `json:"value"`
	}
)

// Discord's numbers for these.
const (
	componentRow    = 1
	componentButton = 2
	componentMenu   = 3
	componentInput  = 4

	buttonPrimary   = 1
	buttonSecondary = 2

	responseModal = 9
	flagEphemeral = 64
	spice         = 0xD9822B // a colour
)

func row(components ...discordComponent) discordComponent {
	return discordComponent{Type: componentRow, Components: components}
}

// shownPing answers pong.
func (d *demo) shownPing(context.Context, *pipeline.Message) (any, error) { return "pong", nil }

// shownUsage shows the usage with a button that looks again. The button's custom ID begins with the command, so its
// interaction comes here too, and what is returned takes the place of the message.
func (d *demo) shownUsage(ctx context.Context, m *pipeline.Message) (any, error) {
	u, err := d.worker.Usage(ctx, m.Tenant)
	if err != nil {
		return nil, err
	}
	e := discordEmbed{Title: "Usage", Description: "Tier **" + string(u.Tier) + "**", Color: spice}
	for _, a := range u.Actions {
		value := fmt.Sprintf("%d of %s", a.Used, count(a.Limit))
		if a.ResetMS > 0 {
			value += fmt.Sprintf(", one is free <t:%d:R>", time.Now().UnixMilli()/1000+(a.ResetMS+999)/1000)
		}
		e.Fields = append(e.Fields, discordField{Name: strings.ReplaceAll(a.Action, "_", " "), Value: value})
	}
	return discordMessage{
		Embeds:     []discordEmbed{e},
		Components: []discordComponent{row(discordComponent{Type: componentButton, Style: buttonSecondary, Label: "Look again", CustomID: "usage:again"})},
	}, nil
}

// panel shows a message with a menu and buttons, one of which opens a form.
func (d *demo) panel(_ context.Context, m *pipeline.Message) (any, error) {
	i, err := interactionOf(m)
	if err != nil {
		return nil, err
	}
	_, part, _ := strings.Cut(i.CustomID, ":")
	house, _ := i.Options["house"].(string)
	if part == "house" && len(i.Values) > 0 {
		house = i.Values[0]
	}
	switch {
	case part == "name" && i.Type == "component":
		return map[string]any{"type": responseModal, "data": nameForm()}, nil
	case part == "name":
		return discordMessage{Content: "Well met, **" + i.Fields["name"] + "**.", Flags: flagEphemeral}, nil
	case house != "":
		return panelMessage("House **" + house + "** it is."), nil
	case part == "harvest":
		return panelMessage(fmt.Sprintf("Harvested <t:%d:R>.", time.Now().Unix())), nil
	default:
		return panelMessage("Press a button, or choose a house."), nil
	}
}

// houses are what can be chosen in panel.
var houses = []string{"Atreides", "Corrino", "Harkonnen"}

// completeHouse answers what panel's option house could be. Autocompletes are requests over NATS, which have 2.5 s.
func completeHouse(m *nats.Msg) {
	var asked struct{ Data interaction }
	if json.Unmarshal(m.Data, &asked) != nil {
		return // nobody types such a thing
	}
	typed, _ := asked.Data.Options["house"].(string)
	choices := []string{}
	for _, house := range houses {
		if strings.HasPrefix(strings.ToLower(house), strings.ToLower(typed)) {
			choices = append(choices, house)
		}
	}
	text, _ := json.Marshal(choices) // strings
	_ = m.Respond(text)              // an error means that nobody waits any more
}

func panelMessage(text string) discordMessage {
	var choices []discordChoice
	for _, house := range houses {
		choices = append(choices, discordChoice{Label: house, Value: house})
	}
	return discordMessage{
		Embeds: []discordEmbed{{Title: "Spice harvester", Description: text, Color: spice}},
		Components: []discordComponent{
			row(discordComponent{Type: componentMenu, CustomID: "panel:house", Placeholder: "Choose a house", Options: choices}),
			row(
				discordComponent{Type: componentButton, Style: buttonPrimary, Label: "Harvest", CustomID: "panel:harvest"},
				discordComponent{Type: componentButton, Style: buttonSecondary, Label: "Say your name …", CustomID: "panel:name"},
			),
		},
	}
}

// nameForm is a modal.
func nameForm() map[string]any {
	return map[string]any{
		"title": "Who are you?", "custom_id": "panel:name",
		"components": []discordComponent{row(discordComponent{
			Type: componentInput, Style: 1, Label: "Your name", CustomID: "name", Placeholder: "Muad'Dib", MaxLength: 40,
		})},
	}
}
