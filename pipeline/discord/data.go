package discord

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The member data of an interaction depends on its type. Each function here reads one form of it into the data of an
// envelope.

// option is a value that the user gave to a command, or a subcommand, or a group of subcommands. Value and Options
// exclude each other.
type option struct {
	Name    string         `json:"name"`
	Type    int            `json:"type"`
	Value   jsontext.Value `json:"value"`
	Options []option       `json:"options"`
	Focused bool           `json:"focused"`
}

// The types of options that have options.
const (
	optionSubcommand = 1
	optionGroup      = 2
)

// setCommand reads the data of a command, or of an autocomplete.
func (d *envelopeData) setCommand(raw jsontext.Value) error {
	var in struct {
		ID       string         `json:"id"`
		Name     string         `json:"name"`
		Type     int            `json:"type"`
		Options  []option       `json:"options"`
		Resolved jsontext.Value `json:"resolved"`
		TargetID string         `json:"target_id"`
	}
	if err := unmarshal(raw, "data", &in); err != nil {
		return err
	}
	if err := checkID("data.id", in.ID); err != nil {
		return err
	}
	if in.TargetID != "" {
		if err := checkID("data.target_id", in.TargetID); err != nil {
			return err
		}
	}
	d.CommandName, d.CommandID, d.CommandType = commandName(in.Name, in.ID), in.ID, in.Type
	d.Resolved, d.TargetID = in.Resolved, in.TargetID
	return d.setOptions(in.Options)
}

// setOptions makes one flat object of the options, and one name of the subcommand and its group, such as "roles add".
func (d *envelopeData) setOptions(options []option) error {
	field := "data.options"
	var path []string
	for _, outer := range []int{optionGroup, optionSubcommand} {
		if len(options) > 0 && options[0].Type == outer {
			path = append(path, options[0].Name)
			options, field = options[0].Options, field+".0.options"
		}
	}
	d.Subcommand = strings.Join(path, " ")
	d.Options = make(map[string]jsontext.Value, len(options))
	for n, o := range options {
		if _, twice := d.Options[o.Name]; twice {
			return &ParseError{fmt.Sprintf("%s.%d.name", field, n), "is twice in one command"}
		}
		switch o.Value.Kind() {
		case '"', '0', 't', 'f':
		default:
			return &ParseError{fmt.Sprintf("%s.%d.value", field, n), "expected a string, a number, true or false"}
		}
		d.Options[o.Name] = o.Value
		if o.Focused {
			d.Focused = o.Name
		}
	}
	return nil
}

// setComponent reads the data of a button, or of a menu.
func (d *envelopeData) setComponent(raw jsontext.Value) error {
	var in struct {
		CustomID      string           `json:"custom_id"`
		ComponentType int              `json:"component_type"`
		Values        []jsontext.Value `json:"values"`
		Resolved      jsontext.Value   `json:"resolved"`
	}
	if err := unmarshal(raw, "data", &in); err != nil {
		return err
	}
	d.CommandName, d.CustomID, d.ComponentType = customName(in.CustomID), in.CustomID, in.ComponentType
	d.Values, d.Resolved = in.Values, in.Resolved
	return nil
}

// component is a part of a modal: a field, such as a text input, or what is around fields: a row, or a label. What a
// field holds is a text or a choice in Value, or several in Values.
type component struct {
	CustomID   string         `json:"custom_id"`
	Value      jsontext.Value `json:"value"`
	Values     jsontext.Value `json:"values"`
	Component  *component     `json:"component"`
	Components []component    `json:"components"`
}

// setModal reads the data of a modal that was submitted.
func (d *envelopeData) setModal(raw jsontext.Value) error {
	var in struct {
		CustomID   string         `json:"custom_id"`
		Components []component    `json:"components"`
		Resolved   jsontext.Value `json:"resolved"`
	}
	if err := unmarshal(raw, "data", &in); err != nil {
		return err
	}
	d.CommandName, d.CustomID, d.Resolved = customName(in.CustomID), in.CustomID, in.Resolved
	d.Fields = make(map[string]jsontext.Value)
	return d.setFields(in.Components)
}

// setFields collects the fields of components, at any depth.
func (d *envelopeData) setFields(components []component) error {
	for _, c := range components {
		value := c.Value
		if value == nil {
			value = c.Values
		}
		if c.CustomID != "" && value != nil {
			if _, twice := d.Fields[c.CustomID]; twice {
				return &ParseError{"data.components", "two fields have the same custom_id"}
			}
			d.Fields[c.CustomID] = value
		}
		if c.Component != nil {
			if err := d.setFields([]component{*c.Component}); err != nil {
				return err
			}
		}
		if err := d.setFields(c.Components); err != nil {
			return err
		}
	}
	return nil
}
