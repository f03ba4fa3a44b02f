// Package problem writes the error answers of both HTTP addresses, which are problem documents of RFC 9457. Everything
// in it is safe for concurrent use, except that a [Problem] belongs to one request.
//
// A problem's type is a URN: "urn:arrakis:problem:" and a word that never changes its meaning. Programs should branch
// on the type. Title and detail are for people; the detail says what to do next.
package problem

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/requestid"
)

// TypePrefix begins the type of every problem.
const TypePrefix = "urn:arrakis:problem:"

// Problem is one error answer. The members after detail are extensions, which are left out if they are not known.
type Problem struct {
	Type      string              `json:"type"`
	Title     string              `json:"title"`
	Status    int                 `json:"status"` // the HTTP status code
	Detail    string              `json:"detail"`
	Field     string              `json:"field,omitempty"`  // the member or header at fault
	Errors    []Fault             `json:"errors,omitempty"` // all faults, for a request that is checked for several
	EventID   string              `json:"event_id,omitempty"`
	Community string              `json:"community_id,omitempty"`
	RequestID string              `json:"request_id,omitempty"`
	RateLimit *contract.RateLimit `json:"rate_limit,omitempty"`
	// RetryAfterMS is the time in milliseconds after which a repetition may succeed. If it is set, and for every
	// 429, the header Retry-After has the same time in whole seconds, rounded up and at least 1.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
}

// Fault is one of several faults of a request.
type Fault struct {
	Field  string `json:"field"`
	Detail string `json:"detail"` // what is wrong with the field, and what is expected
}

// New makes a problem of the type TypePrefix + name. Its title is name with spaces for hyphens, so a name such as
// "rate-limited" must read as a title.
func New(status int, name, format string, args ...any) *Problem {
	title := strings.ReplaceAll(name, "-", " ")
	return &Problem{
		Type:   TypePrefix + name,
		Title:  strings.ToUpper(title[:1]) + title[1:],
		Status: status,
		Detail: fmt.Sprintf(format, args...),
	}
}

// Malformed is a 400 for field. The detail begins with the field.
func Malformed(field, format string, args ...any) *Problem {
	return New(http.StatusBadRequest, "malformed", field+": "+format, args...).About(field)
}

// About sets the member or header at fault. It returns p.
func (p *Problem) About(field string) *Problem {
	p.Field = field
	return p
}

// RetryAfter sets the time after which a repetition may succeed. It returns p.
func (p *Problem) RetryAfter(d time.Duration) *Problem {
	p.RetryAfterMS = d.Milliseconds()
	return p
}

// NotFound says that nothing is served at the request's path.
func NotFound(r *http.Request) *Problem {
	return New(http.StatusNotFound, "not-found", "Nothing is served at %.200q. Check the path.", r.URL.Path)
}

// MethodNotAllowed names the methods of the path, in the detail and in the header Allow.
func MethodNotAllowed(h http.Header, r *http.Request, allow string) *Problem {
	h.Set("Allow", allow)
	return New(http.StatusMethodNotAllowed, "method-not-allowed", "%.32q is not served here. Use %s.", r.Method, allow)
}

// Encode returns the document.
func (p *Problem) Encode() ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	err := enc.Encode(p)
	return body.Bytes(), err
}

// Write writes the problem as the answer. If it has no RequestID, it gets that of the answer's header. An error means that
// the client is gone.
func (p *Problem) Write(w http.ResponseWriter) error {
	p.RequestID = cmp.Or(p.RequestID, w.Header().Get(requestid.Header))
	body, err := p.Encode()
	if err != nil {
		return err
	}
	if p.RetryAfterMS > 0 || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, (p.RetryAfterMS+999)/1000), 10))
	}
	return WriteEncoded(w, p.Status, body)
}

// WriteEncoded writes a document of [Problem.Encode] as the answer. An error means that the client is gone.
func WriteEncoded(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
