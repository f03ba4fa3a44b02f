package discord

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Done is the content of the answer for a handler that succeeds and has nothing to say.
const Done = "✓"

// maxEmbeds is how many embeds a message may have.
const maxEmbeds = 10

// Format makes the response to an interaction of type t of what its handler has returned:
//
//   - a string is the content of a message, and so is a number, true or false;
//   - null is [Done], and leaves the message of a component as it is;
//   - an object with members of Discord's messages, such as content or embeds, is a message as it is;
//   - an object that has only members of an embed is one, and an array of such objects are several;
//   - an object of type and data alone, where type is 4, 7 or 9, is a whole response; 9 is a modal;
//   - any other JSON is shown as such, and so is what nests deeper than 100 levels.
//
// A message answers a command or a modal, and updates the message of a component. Content and embeds beyond what
// Discord takes are cut. Mentions ping nobody, unless the message has allowed_mentions.
func Format(t Type, result json.RawMessage) Response {
	typ := ResponseMessage
	if t == Component {
		typ = ResponseUpdate
	}
	var m map[string]json.RawMessage
	deep := nesting(result) > maxNesting // no message does, and what is put around it must not make it too deep to encode
	if !deep {
		m = members(result)
	}
	if whole, data, ok := wholeResponse(t, m); ok {
		if whole != ResponseModal {
			data = tidy(whole, members(data))
		}
		return Response{Type: whole, Data: data}
	}
	switch {
	case isMessage(m):
	case absent(jsontext.Value(result)):
		m = make(map[string]json.RawMessage)
	case isEmbed(m):
		m = map[string]json.RawMessage{"embeds": encode([]json.RawMessage{result})}
	case !deep && isEmbeds(result):
		m = map[string]json.RawMessage{"embeds": result}
	default:
		m = map[string]json.RawMessage{"content": quote(content(result))}
	}
	return Response{Type: typ, Data: tidy(typ, m)}
}

// wholeResponse returns the type and the data of a whole response, if m is one that an interaction of type t can have. A
// command has no message that could be updated, so what would update one is a message.
func wholeResponse(t Type, m map[string]json.RawMessage) (ResponseType, json.RawMessage, bool) {
	data := m["data"]
	if len(m) != 2 || jsontext.Value(data).Kind() != '{' {
		return 0, nil, false
	}
	switch string(m["type"]) {
	case "4":
		return ResponseMessage, data, true
	case "7":
		if t == Command {
			return ResponseMessage, data, true
		}
		return ResponseUpdate, data, true
	case "9":
		return ResponseModal, data, t != Modal // a modal cannot follow a modal
	}
	return 0, nil, false
}

// Members of messages and of embeds, with the JSON kinds that they may have besides null: a string ("), a number (0), an
// object ({), an array ([), or a boolean (t and f).
var (
	messageMembers = map[string]string{
		"content": `"`, "embeds": "[", "components": "[", "poll": "{", "attachments": "[", "sticker_ids": "[", "flags": "0",
		"tts": "tf", "allowed_mentions": "{",
	}
	embedMembers = map[string]string{
		"title": `"`, "description": `"`, "fields": "[", "image": "{", "thumbnail": "{", "author": "{", "footer": "{",
		"type": `"`, "url": `"`, "timestamp": `"`, "color": "0", "video": "{", "provider": "{",
	}
	// visible are the members without one of which a message, or an embed, shows nothing.
	visibleInMessages = []string{"content", "embeds", "components", "poll", "attachments", "sticker_ids"}
	visibleInEmbeds   = []string{"title", "description", "fields", "image", "thumbnail", "author", "footer"}
)

// isMessage reports whether m is a message: it has a member of one, and each that it has is of the right kind.
func isMessage(m map[string]json.RawMessage) bool {
	found := false
	for name, value := range m {
		kinds, ok := messageMembers[name]
		if ok && !hasKind(value, kinds) {
			return false
		}
		found = found || ok
	}
	return found
}

// isEmbed reports whether m is an embed: it has no other members, and shows something. So a result that happens to have
// a title besides other things is none.
func isEmbed(m map[string]json.RawMessage) bool {
	for name, value := range m {
		if kinds, ok := embedMembers[name]; !ok || !hasKind(value, kinds) {
			return false
		}
	}
	return slices.ContainsFunc(visibleInEmbeds, func(name string) bool { return !empty(m[name]) })
}

// isEmbeds reports whether result is an array of embeds.
func isEmbeds(result json.RawMessage) bool {
	list := elements(result)
	return len(list) > 0 && !slices.ContainsFunc(list, func(e json.RawMessage) bool { return !isEmbed(members(e)) })
}

func hasKind(value json.RawMessage, kinds string) bool {
	kind := jsontext.Value(value).Kind()
	return kind == 'n' || strings.IndexByte(kinds, byte(kind)) >= 0
}

// tidy returns the message m with what Discord takes: content and embeds that are not too long, mentions that somebody
// wants, and something to see. An update may well show nothing: it may take away the buttons of a message.
func tidy(typ ResponseType, m map[string]json.RawMessage) json.RawMessage {
	if text, err := jsontext.AppendUnquote(nil, m["content"]); err == nil {
		m["content"] = quote(cut(string(text), MaxContent))
	}
	if embeds := elements(m["embeds"]); len(embeds) > maxEmbeds {
		m["embeds"] = encode(embeds[:maxEmbeds])
	}
	if absent(jsontext.Value(m["allowed_mentions"])) {
		m["allowed_mentions"] = noMentions
	}
	if typ == ResponseMessage && !slices.ContainsFunc(visibleInMessages, func(name string) bool { return !empty(m[name]) }) {
		m["content"] = quote(Done)
	}
	return encode(m)
}

// empty reports whether a member was left out, or shows nothing.
func empty(v json.RawMessage) bool {
	return absent(jsontext.Value(v)) || slices.Contains([]string{`""`, "[]", "{}"}, string(v))
}

// content is the content of a message for a result that is none itself.
func content(result json.RawMessage) string {
	switch v := jsontext.Value(result); v.Kind() {
	case '"':
		text, _ := jsontext.AppendUnquote(nil, v) // it is JSON
		return string(text)
	case '{', '[':
		return block(v)
	default: // a number, true or false
		return string(bytes.TrimSpace(result))
	}
}

// maxIndented is how many bytes of JSON are indented at most. Of more, little is shown anyway, and with the spaces it may
// become a hundred times as long.
const maxIndented = 16 << 10

// block shows JSON as code.
func block(result jsontext.Value) string {
	const before, after = "```json\n", "\n```"
	text := result.Clone()
	if len(text) <= maxIndented && nesting(text) <= maxNesting {
		_ = text.Indent(jsontext.WithIndent("  ")) // it is JSON
	}
	// A fence within the text would end the block. An invisible space takes it apart.
	code := strings.ReplaceAll(string(text), "```", "``\u200b`")
	return before + cut(code, MaxContent-len(before)-len(after)) + after
}

// elements returns the elements of a JSON array, or nil if it is none.
func elements(array json.RawMessage) []json.RawMessage {
	var list []json.RawMessage
	if jsontext.Value(array).Kind() != '[' || jsonv2.Unmarshal(array, &list) != nil {
		return nil
	}
	return list
}
