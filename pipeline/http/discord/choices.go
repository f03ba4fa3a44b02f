package discord

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

const (
	maxChoices    = 25  // that Discord shows
	maxChoiceText = 100 // characters of a name, or of a value that is a string
)

// choice is what a user can choose for an option.
type choice struct {
	Name          string         `json:"name"`
	Localizations jsontext.Value `json:"name_localizations,omitempty"`
	Value         jsontext.Value `json:"value"` // a string or a number
}

// choicesOf reads the reply of a handler: an array of strings and numbers, or of objects with name, value and
// name_localizations, where name may be left out. The first 25 count. A text of more than 100 characters is cut; but a
// value that is too long cannot be chosen for what it is, and Discord takes none that is empty, so its choice is left out.
func choicesOf(reply *nats.Msg) ([]choice, error) {
	if text := reply.Header.Get(contract.HeaderServiceError) + reply.Header.Get(contract.HeaderServiceErrorCode); text != "" {
		return nil, fmt.Errorf("the handler failed: %s", contract.Clip(string(discord.Redact([]byte(text))), 256))
	}
	var all []jsontext.Value
	if err := json.Unmarshal(reply.Data, &all); err != nil {
		return nil, errors.New("the handler's reply is no array of JSON")
	}
	found := make([]choice, 0, min(len(all), maxChoices))
	for _, v := range all {
		c := choice{Value: v}
		if v.Kind() == '{' {
			c = choice{}
			if err := json.Unmarshal(v, &c); err != nil {
				return nil, errors.New("a choice of the handler is no object with name and value")
			}
		}
		text, ok := textOf(c.Value)
		if !ok {
			return nil, errors.New("a value of the handler's choices is neither a string nor a number")
		}
		if c.Name == "" {
			c.Name = text
		}
		c.Name = firstCharacters(c.Name, maxChoiceText)
		if text == "" || utf8.RuneCountInString(text) > maxChoiceText {
			continue
		}
		if found = append(found, c); len(found) == maxChoices {
			break
		}
	}
	return found, nil
}

// textOf returns the text of a value. ok is false if it is neither a string nor a number.
func textOf(value jsontext.Value) (text string, ok bool) {
	switch value.Kind() {
	case '"':
		unquoted, err := jsontext.AppendUnquote(nil, value)
		return string(unquoted), err == nil
	case '0':
		return string(value), true
	default:
		return "", false
	}
}

// firstCharacters cuts a text to limit characters.
func firstCharacters(s string, limit int) string {
	n := 0
	for at := range s {
		if n == limit {
			return s[:at]
		}
		n++
	}
	return s
}

// choices is the response with these choices.
func choices(found []choice) []byte {
	if found == nil {
		found = []choice{}
	}
	data, err := json.Marshal(map[string][]choice{"choices": found})
	if err != nil { // all of it was read as JSON
		panic("discord: choices cannot be encoded: " + err.Error())
	}
	r := discord.Response{Type: discord.ResponseChoices, Data: data}
	return r.Inline()
}
