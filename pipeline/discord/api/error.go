package api

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Discord's codes of errors that a caller must tell apart.
const (
	CodeUnknownMessage     = 10008
	CodeUnknownWebhook     = 10015
	CodeUnknownInteraction = 10062
	CodeAlreadyAnswered    = 40060
	CodeInvalidToken       = 50027
)

const (
	maxMessage = 500 // bytes that an Error keeps of a text
	maxFaults  = 20  // faults that it keeps
	maxDepth   = 20  // of the object of faults
)

// Error is an answer of Discord with a status that is not good. It has no token in it.
type Error struct {
	Status  int    // of HTTP
	Code    int    // Discord's; 0 if the answer has none
	Message string // Discord's; that of the status if the answer has none
	// Faults are the fields at fault, of code 50035. 20 at most.
	Faults []Fault
	// Limited is set for the status 429.
	Limited *Limited
}

// Fault is what is wrong with one field, such as 0.options.1.name.
type Fault struct{ Field, Message string }

// Limited says which calls have to wait, and for how long.
type Limited struct {
	Scope Scope
	After time.Duration // 0 or more
}

// Scope says which calls a limit is about.
type Scope string

// The scopes.
const (
	User   Scope = "user"   // calls of this kind
	Shared Scope = "shared" // calls for the same channel, of all applications
	Global Scope = "global" // all calls; also where Cloudflare answers instead of Discord
)

// maxAfter bounds what is believed of a time to wait. The longest one known is a ban of an hour, or a day after a second
// one.
const maxAfter = 24 * time.Hour

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "discord answers %d: %s", e.Status, e.Message)
	if e.Code != 0 {
		fmt.Fprintf(&b, " (%d)", e.Code)
	}
	for n, f := range e.Faults {
		fmt.Fprintf(&b, "%s %s: %s", []string{":", ";"}[min(n, 1)], f.Field, f.Message)
	}
	if e.Limited != nil {
		fmt.Fprintf(&b, "; try again in %v", e.Limited.After)
	}
	return b.String()
}

// Invalid reports whether the answer counts towards Discord's ban: 10,000 of them in ten minutes, from one address.
func (e *Error) Invalid() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusTooManyRequests:
		return e.Limited.Scope != Shared
	default:
		return false
	}
}

// newError reads an answer.
func newError(r *http.Response, body []byte, secret string) *Error {
	var answer struct {
		Code       int            `json:"code"`
		Message    string         `json:"message"`
		Errors     jsontext.Value `json:"errors"`
		RetryAfter float64        `json:"retry_after"` // seconds
		Global     bool           `json:"global"`
	}
	e := &Error{Status: r.StatusCode}
	if json.Unmarshal(body, &answer) == nil {
		e.Code, e.Message = answer.Code, text(answer.Message, secret)
		e.addFaults("", answer.Errors, secret, maxDepth)
	}
	if e.Message == "" {
		e.Message = http.StatusText(e.Status)
	}
	if e.Status == http.StatusTooManyRequests {
		e.Limited = &Limited{Scope: scopeOf(r.Header, answer.Global), After: after(r.Header, answer.RetryAfter)}
	}
	return e
}

// scopeOf reads the scope. Discord names it in a header. An answer without the header is one of Cloudflare, or of a proxy.
func scopeOf(h http.Header, global bool) Scope {
	switch scope := Scope(h.Get("X-RateLimit-Scope")); {
	case global || scope == Global || h.Get("X-RateLimit-Global") != "":
		return Global
	case scope == User || scope == Shared:
		return scope
	case h.Get("X-RateLimit-Bucket") != "":
		return User
	default:
		return Global
	}
}

// after reads the time to wait. The body has it more exactly than the header. A second, if neither has one that can be.
func after(h http.Header, seconds float64) time.Duration {
	if seconds <= 0 {
		seconds, _ = strconv.ParseFloat(h.Get("Retry-After"), 64) // 0 if it is none
	}
	if !(seconds > 0) { // also not a number
		return time.Second
	}
	return time.Duration(math.Ceil(min(seconds, maxAfter.Seconds())*1000)) * time.Millisecond
}

// addFaults flattens the object of faults, in which members are fields and their _errors are what is wrong with them.
func (e *Error) addFaults(field string, object jsontext.Value, secret string, depth int) {
	var members map[string]jsontext.Value
	if depth == 0 || json.Unmarshal(object, &members) != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name != "_errors" {
			e.addFaults(strings.TrimPrefix(field+"."+text(name, secret), "."), members[name], secret, depth-1)
			continue
		}
		var faults []struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(members[name], &faults) // what cannot be read is not shown
		for _, f := range faults {
			if len(e.Faults) < maxFaults {
				e.Faults = append(e.Faults, Fault{Field: field, Message: text(f.Message, secret)})
			}
		}
	}
}

// text is a text of Discord as it may be shown.
func text(s, secret string) string {
	s = hidden(s, secret)
	return strings.ToValidUTF8(s[:min(len(s), maxMessage)], "")
}
