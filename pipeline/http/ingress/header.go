package ingress

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/tracing"
)

// RequestID returns the ID of a request, which its answer and its message carry: the header X-Request-Id, if that is 1 to
// 128 visible ASCII characters, or else a new one.
func RequestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); contract.ValidEventID(id) {
		return id
	}
	return newUUID()
}

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID() string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	return formatUUID(u, 4)
}

func formatUUID(u [16]byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[0:], u[0:4])
	hex.Encode(s[9:], u[4:6])
	hex.Encode(s[14:], u[6:8])
	hex.Encode(s[19:], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// madeUpVersion is the version of event IDs that the ingress makes up: a UUID of a form of our own (RFC 9562, version
// 8). Its last 48 bits are a checksum of the others, which are random.
const madeUpVersion = 8

// makeEventID makes up the event ID of a message whose client gave none. Such an ID is told to the client, but the
// client cannot use it for a further message: the ID holds a permit already, so the message would not be charged.
func makeEventID() string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	id := formatUUID(u, madeUpVersion)
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
