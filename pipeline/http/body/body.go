// Package body reads the JSON body of a request within a bound, for both HTTP addresses. It answers a body that it
// refuses with a problem.
package body

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"

	"arrakis/pipeline/http/problem"
)

// JSON is the media type of most bodies.
const JSON = "application/json"

// maxDiscard is how many bytes discard reads beyond the limit of a body.
const maxDiscard = 1 << 20

// firstRead is how many bytes of a body get memory before any of them has come: what a client says of its size is no
// reason to hold memory for it.
const firstRead = 4 << 10

// Rules say which bodies are accepted.
type Rules struct {
	MaxBytes int // size of the largest accepted body
	// Types are the accepted media types. A body without a Content-Type is accepted.
	Types []string
	// Suffix also accepts every type application/*+json, such as application/cloudevents+json.
	Suffix bool
	// TooLarge is a sentence that says what to do about a body above MaxBytes.
	TooLarge string
}

// Read reads the body of r, or returns a problem. It may set headers of the answer, but writes nothing.
func (l *Rules) Read(w http.ResponseWriter, r *http.Request) ([]byte, *problem.Problem) {
	if p := l.checkType(w.Header(), r); p != nil {
		return nil, p
	}
	data, err := l.read(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return data, nil
	case errors.As(err, &tooLarge):
		return nil, TooLarge("The body is larger than %d bytes. %s", l.MaxBytes, l.TooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem.New(http.StatusRequestTimeout, "body-timed-out", "The body did not arrive in time. Repeat the request.")
	default:
		return nil, problem.Malformed("body", "could not be read to its end")
	}
}

// TooLarge is the problem of a body above a limit. The detail must name the limit.
func TooLarge(format string, args ...any) *problem.Problem {
	return problem.New(http.StatusRequestEntityTooLarge, "too-large", format, args...).About("body")
}

// checkType refuses compressed bodies and media types that are not accepted.
func (l *Rules) checkType(h http.Header, r *http.Request) *problem.Problem {
	const name = "unsupported-media-type"
	if v := r.Header.Get("Content-Encoding"); v != "" && !strings.EqualFold(v, "identity") {
		h.Set("Accept-Encoding", "identity")
		return problem.New(http.StatusUnsupportedMediaType, name,
			"The body is encoded as %.64q. Send it as it is, without Content-Encoding.", v).About("Content-Encoding")
	}
	v := r.Header.Get("Content-Type")
	if v == "" || v == l.Types[0] {
		return nil
	}
	if media, _, err := mime.ParseMediaType(v); err == nil && (slices.Contains(l.Types, media) ||
		l.Suffix && strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
		return nil
	}
	header := "Accept"
	if r.Method == http.MethodPatch {
		header = "Accept-Patch"
	}
	h.Set(header, strings.Join(l.Types, ", "))
	return problem.New(http.StatusUnsupportedMediaType, name,
		"The body is said to be %.64q. Send JSON with the header Content-Type: %s.", v, l.Types[0]).About("Content-Type")
}

// read reads at most MaxBytes bytes. An error is a *http.MaxBytesError, or an error of the connection.
func (l *Rules) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := int64(l.MaxBytes)
	if r.ContentLength > limit {
		// A client that sends Expect waits for permission and has not sent the body yet.
		if r.Header.Get("Expect") == "" {
			discard(r)
		}
		return nil, &http.MaxBytesError{Limit: limit}
	}
	bounded := http.MaxBytesReader(w, r.Body, limit)
	if r.ContentLength < 0 { // chunked
		data, err := io.ReadAll(bounded)
		if err != nil {
			discard(r)
		}
		return data, err
	}
	data := make([]byte, min(r.ContentLength, firstRead))
	n, err := io.ReadFull(bounded, data)
	if err == nil && r.ContentLength > firstRead {
		data = append(make([]byte, 0, r.ContentLength), data...)[:r.ContentLength]
		_, err = io.ReadFull(bounded, data[n:])
	}
	return data, err
}

// discard reads on beyond the limit. So a client that sends its whole body before it reads the answer gets the answer,
// and not a reset connection.
func discard(r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, maxDiscard) // an error does not change the answer
}
