package appcommands

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ParseFile reads a file of commands for one guild or for all: a JSON array in Discord's form. The error names each fault
// by its path, such as [0].options[1].name. A member that Discord does not know is a fault too: Discord would ignore it
// without a word, and it is mostly one that is misspelt.
func ParseFile(file []byte, guild bool) ([]Command, error) {
	var commands []Command
	if err := json.Unmarshal(file, &commands, json.RejectUnknownMembers(true)); err != nil {
		return nil, explain(err)
	}
	if commands == nil {
		return nil, errors.New("expected an array of commands; [] removes all")
	}
	for i := range commands {
		commands[i].clean()
	}
	return commands, errors.Join(check(commands, guild)...)
}

// ParseAnswer reads the commands that Discord has sent.
func ParseAnswer(body []byte) ([]Command, error) {
	var commands []Command
	if err := json.Unmarshal(body, &commands); err != nil {
		return nil, fmt.Errorf("the commands that Discord has sent cannot be read: %w", explain(err))
	}
	for i := range commands {
		commands[i].clean()
	}
	return commands, nil
}

// clean drops what Discord sets, and names the type.
func (c *Command) clean() {
	if c.Type == 0 {
		c.Type = ChatInput
	}
	c.setByDiscord = setByDiscord{}
	c.NameLocalized, c.DescriptionLocalized = "", ""
	cleanOptions(c.Options)
}

func cleanOptions(options []Option) {
	for i := range options {
		o := &options[i]
		o.NameLocalized, o.DescriptionLocalized = "", ""
		o.MinValue, o.MaxValue = number(o.MinValue), number(o.MaxValue)
		for j := range o.Choices {
			o.Choices[j].NameLocalized = ""
			o.Choices[j].Value = number(o.Choices[j].Value)
		}
		cleanOptions(o.Options)
	}
}

// number writes a number in its one form, so that 1.0 is 1. It leaves any other value as it is, but makes null no value.
func number(v jsontext.Value) jsontext.Value {
	switch v.Kind() {
	case 'n':
		return nil
	case '0':
		v = v.Clone()
		_ = v.Canonicalize() // it is a number
	}
	return v
}

// explain says where a fault of the JSON is, in the form of all other faults.
func explain(err error) error {
	if at := new(json.SemanticError); errors.As(err, &at) {
		path := pathOf(at.JSONPointer)
		switch {
		case errors.Is(at.Err, json.ErrUnknownName):
			return fmt.Errorf("%s: Discord knows no such member", path)
		case path == "":
			return fmt.Errorf("expected an array of commands, not %s", kind(at.JSONKind))
		default:
			return fmt.Errorf("%s: %s does not belong here", path, kind(at.JSONKind))
		}
	}
	if at := new(jsontext.SyntacticError); errors.As(err, &at) {
		return fmt.Errorf("this is no JSON: at byte %d, %w", at.ByteOffset, at.Err)
	}
	return err
}

// kind is a kind of JSON value for people.
func kind(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	}
	return "a " + k.String()
}

var digits = regexp.MustCompile(`^[0-9]+$`)

// pathOf is a JSON pointer as a path, such as [0].options[1].name.
func pathOf(pointer jsontext.Pointer) string {
	path := ""
	for token := range pointer.Tokens() {
		if digits.MatchString(token) {
			path += "[" + token + "]"
		} else {
			path += "." + token
		}
	}
	return strings.TrimPrefix(path, ".")
}
