package ingress

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/tracing"
)

// madeUpVersion is the version of event IDs that the ingress makes up: a UUID of a form of our own (RFC 9562, version
// 8). Its last 48 bits are a checksum of the others, which are random.
const madeUpVersion = 8

// makeEventID makes up the event ID of a message whose client gave none. Such an ID is told to the client, but the
// client cannot use it for a further message: the ID holds a permit already, so the message would not be charged.
func makeEventID() string {
	u := uuid.New()
	u[6] = u[6]&0x0f | madeUpVersion<<4
	id := u.String()
	return id[:checksumAt] + checksum(id)
}

// madeEventID reports whether an event ID is one of makeEventID, of any process. Any other ID is by a chance of 2^-48,
// if it is a UUID of version 8.
func madeEventID(id string) bool {
	return len(id) == 36 && id[14] == '0'+madeUpVersion && id[checksumAt:] == checksum(id)
}

const checksumAt = 24 // in a UUID's text

func checksum(id string) string {
	sum := sha256.Sum256([]byte("arrakis " + id[:checksumAt]))
	return hex.EncodeToString(sum[:6])
}

// prefersAsync reports whether the values of Prefer (RFC 7240) contain the preference respond-async, without a value or
// with an empty one. The word does not count inside the value or the parameters of another preference.
func prefersAsync(values []string) bool {
	for _, v := range values {
		for v != "" {
			var preference string
			preference, v = cutUnquoted(v, ',')
			preference, _ = cutUnquoted(preference, ';')
			name, value, _ := strings.Cut(preference, "=")
			value = strings.TrimSpace(value)
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") && (value == "" || value == `""`) {
				return true
			}
		}
	}
	return false
}

// cutUnquoted is [strings.Cut] at the first sep that is outside a quoted string.
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// copyTrace copies the client's traceparent and tracestate into the message. What is not valid is left out.
func (m *message) copyTrace(h http.Header) {
	parent := h.Get(contract.HeaderTraceParent)
	if !tracing.ValidParent(parent) {
		return
	}
	m.setHeader(contract.HeaderTraceParent, parent)
	if state := strings.Join(h.Values(contract.HeaderTraceState), ","); state != "" && tracing.ValidState(state) {
		m.setHeader(contract.HeaderTraceState, state)
	}
}
