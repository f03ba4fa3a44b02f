package discord

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"

	jsonv2 "github.com/go-json-experiment/json"
)

// Flags of messages.
const (
	flagSuppressEmbeds = 1 << 2
	flagEphemeral      = 1 << 6 // only the user of the interaction sees the message
	flagComponentsV2   = 1 << 15
)

// Pong answers a [Ping].
func Pong() Response { return Response{Type: ResponsePong} }

// Deferral says that the answer to an interaction of type t follows. The user sees that the bot is thinking, or nothing
// for a [Component], whose message is updated later. ephemeral says that only the user will see the answer; Discord must
// know that now, and it has no meaning for a component.
func Deferral(t Type, ephemeral bool) Response {
	switch {
	case t == Component:
		return Response{Type: ResponseDeferUpdate}
	case ephemeral:
		return Response{Type: ResponseDefer, Data: json.RawMessage(`{"flags":` + strconv.Itoa(flagEphemeral) + `}`)}
	default:
		return Response{Type: ResponseDefer}
	}
}

// Inline returns the response as the body of an HTTP answer, or of a callback.
func (r *Response) Inline() []byte {
	text, err := jsonv2.Marshal(r)
	if err != nil { // Data is JSON, so this is a bug
		panic("discord: a response cannot be encoded: " + err.Error())
	}
	return text
}

// IsModal reports whether the response is a modal, which can only be the first answer to an interaction.
func (r *Response) IsModal() bool { return r.Type == ResponseModal }

// Ephemeral reports whether only the user of the interaction sees the message.
func (r *Response) Ephemeral() bool { return r.flags()&flagEphemeral != 0 }

func (r *Response) flags() int {
	var m struct {
		Flags int `json:"flags"`
	}
	if jsonv2.Unmarshal(r.Data, &m) != nil {
		return 0 // Discord says what is wrong with them
	}
	return m.Flags
}

// replaced are the members of a message that an edit leaves as they are unless it names them.
var replaced = []string{"content", "embeds", "components"}

// Message returns the message for an edit of the one that is there. It takes the place of that one, such as what progress
// has shown; an update changes what it names, and leaves the rest. An edit cannot change who sees a message, and takes few
// other flags.
func (r *Response) Message() json.RawMessage {
	flags := r.flags()
	const editable = flagSuppressEmbeds | flagComponentsV2
	m := members(r.Data)
	if flags&^editable != 0 {
		delete(m, "flags")
		if flags &= editable; flags != 0 {
			m["flags"] = json.RawMessage(strconv.Itoa(flags))
		}
	}
	if r.Type == ResponseMessage {
		for _, name := range replaced {
			if _, ok := m[name]; !ok {
				m[name] = json.RawMessage("null")
			}
		}
	}
	return encode(m)
}

// LateWay is how the response reaches Discord after an interaction of type t was deferred. A message of its own, such as
// an error, must not replace the message of a component; everything else takes the place of the deferral.
func (r *Response) LateWay(t Type) Way {
	if t == Component && r.Type == ResponseMessage {
		return FollowUp
	}
	return Edit
}

// say is a message with this content.
func say(content string, ephemeral bool) Response {
	m := map[string]json.RawMessage{"content": quote(cut(content, MaxContent)), "allowed_mentions": noMentions}
	if ephemeral {
		m["flags"] = json.RawMessage(strconv.Itoa(flagEphemeral))
	}
	return Response{Type: ResponseMessage, Data: encode(m)}
}

// noMentions are the allowed mentions of a message that does not say otherwise: none, so that a handler that repeats what
// a user wrote pings nobody.
var noMentions = json.RawMessage(`{"parse":[]}`)

// MaxContent is how long the content of a message may be, as Discord counts: in units of UTF-16.
const MaxContent = 2_000

// cut cuts a text to limit units of UTF-16. An ellipsis marks the cut.
func cut(s string, limit int) string {
	if len(s) <= limit { // no character has more units than bytes
		return s
	}
	units, end := 0, 0 // end is where the text is cut, if it must be
	for i, r := range s {
		if units <= limit-1 {
			end = i
		}
		if units += utf16.RuneLen(r); units > limit {
			return s[:end] + "…"
		}
	}
	return s
}

// members returns the members of a JSON object, or nil if it is none.
func members(object json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if jsonv2.Unmarshal(object, &m) != nil {
		return nil
	}
	return m
}

// encode encodes what always can be: strings, and JSON that was read before.
func encode(v any) json.RawMessage {
	text, err := jsonv2.Marshal(v, jsonv2.Deterministic(true))
	if err != nil {
		panic("discord: a message cannot be encoded: " + err.Error())
	}
	return text
}

// quote encodes a text. What is no UTF-8, such as in an error of a handler, becomes U+FFFD.
func quote(s string) json.RawMessage { return encode(strings.ToValidUTF8(s, "\uFFFD")) }
