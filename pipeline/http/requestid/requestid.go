// Package requestid gives requests of both HTTP addresses their IDs, by which an answer, the log, a message and the audit
// log can be found for each other.
package requestid

import (
	"net/http"

	"github.com/google/uuid"

	"arrakis/pipeline/contract"
)

// Header is the header that has the ID, of requests and of answers.
const Header = "X-Request-Id"

// Of returns the ID that the client has given, if that is 1 to 128 visible ASCII characters, or else a new one. A client
// is not refused for its ID: proxies and libraries send what they like, and nothing depends on it.
func Of(r *http.Request) string {
	if id := r.Header.Get(Header); contract.ValidEventID(id) {
		return id
	}
	return New()
}

// New makes up an ID, a UUID (RFC 9562, version 4).
func New() string { return uuid.NewString() }
