package contract

import (
	"bytes"
	"fmt"
	"slices"
)

// Missing are members that a message must have and that its sender may leave to arrakis, as [DecodePartial] does. "" is
// none.
type Missing struct {
	EventID   string
	EventType string
}

// Add returns the body with the members. It must be one that DecodePartial has accepted, and must not have them. Nothing
// else of it changes; body itself is not written to.
func (m Missing) Add(body []byte) []byte {
	var members []byte // each followed by a comma, which may stay: the envelope has other members
	if m.EventID != "" {
		members = fmt.Appendf(members, `"event_id":%q,`, m.EventID) // visible ASCII; Go quotes it as JSON does
	}
	if m.EventType != "" {
		members = fmt.Appendf(members, `"event_type":%q,`, m.EventType)
	}
	if len(members) == 0 {
		return body
	}
	start := bytes.IndexByte(body, '{') + 1
	return slices.Concat(body[:start], members, body[start:])
}
