package admin

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"arrakis/pipeline/http/problem"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// The media types of bodies.
const (
	jsonType  = "application/json"
	patchType = "application/merge-patch+json"
)

// readBody reads a body of at most 64 KiB and one of the media types; one
// that is not named passes.
func readBody(w http.ResponseWriter, r *http.Request, types ...string) ([]byte, error) {
	if err := checkMedia(w.Header(), r, types); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, tenant.MaxDocument))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		p := problem.New(http.StatusRequestEntityTooLarge, "too-large",
			"The body is larger than %d bytes, the most that a document may have.", tooLarge.Limit)
		p.Field = "body"
		return nil, &problemError{p}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &problemError{problem.New(http.StatusRequestTimeout, "body-timed-out", "The body did not arrive in time. Repeat the request.")}
	case err != nil:
		return nil, fault("body", "could not be read to its end")
	}
	return body, nil
}

func checkMedia(h http.Header, r *http.Request, types []string) error {
	unsupported := func(field, format string, args ...any) error {
		p := problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type", format, args...)
		p.Field = field
		return &problemError{p}
	}
	if v := r.Header.Get("Content-Encoding"); v != "" && !strings.EqualFold(v, "identity") {
		h.Set("Accept-Encoding", "identity")
		return unsupported("Content-Encoding", "The body is encoded as %.64q. Send it as it is, without Content-Encoding.", v)
	}
	v := r.Header.Get("Content-Type")
	if v == "" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(v); err == nil && slices.Contains(types, media) {
		return nil
	}
	accepted := strings.Join(types, ", ")
	if r.Method == http.MethodPatch {
		h.Set("Accept-Patch", accepted)
	} else {
		h.Set("Accept", accepted)
	}
	return unsupported("Content-Type", "The body is said to be %.64q. Send JSON with the header Content-Type: %s.", v, types[0])
}

// query reads the query of a request. A parameter that is not among names, or
// is given twice, is refused.
func query(r *http.Request, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fault("query", "is not well-formed; escape special characters as %%XX")
	}
	var errs []error
	for name, v := range values {
		switch {
		case len(names) == 0:
			errs = append(errs, fault(shorten(name), "is unknown; this path has no query parameters"))
		case !slices.Contains(names, name):
			errs = append(errs, fault(shorten(name), "is unknown; known are %s", strings.Join(names, ", ")))
		case len(v) > 1:
			errs = append(errs, fault(name, "is given twice; keep one"))
		}
	}
	return values, errors.Join(errs...)
}

// pageLimit reads the parameter limit.
func pageLimit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return 100, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > store.MaxListLimit {
		return 0, fault("limit", "must be a whole number from 1 to %d", store.MaxListLimit)
	}
	return n, nil
}

// nextPage is the address of the page at cursor, "" for none: the request's
// own with another cursor.
func nextPage(r *http.Request, q url.Values, cursor string) string {
	if cursor == "" {
		return ""
	}
	q.Set("cursor", cursor)
	return r.URL.Path + "?" + q.Encode()
}

// fault is what is wrong with a part of a request.
func fault(field, format string, args ...any) error {
	return &tenant.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// shorten keeps what a client wrote from filling an answer.
func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
