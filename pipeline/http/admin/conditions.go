package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"arrakis/tenant/store"
)

// entityTag is a version as a strong ETag (RFC 9110, section 8.8.3).
func entityTag(v store.Version) string { return `"` + string(v) + `"` }

// conditions are the preconditions of a request. The zero value has none.
type conditions struct {
	exists  bool          // If-Match: *
	absent  bool          // If-None-Match: *
	version store.Version // If-Match with one tag
}

// parseConditions reads If-Match and If-None-Match. Several tags are refused:
// a document has one version at a time, and a client that has read it knows
// which. So is a weak tag, which arrakis never gives.
func parseConditions(r *http.Request) (conditions, error) {
	var c conditions
	if values := r.Header.Values("If-Match"); len(values) > 0 {
		value := strings.TrimSpace(values[0])
		tag, quoted := strings.CutPrefix(value, `"`)
		tag, closed := strings.CutSuffix(tag, `"`)
		switch {
		case len(values) > 1:
			return c, fault("If-Match", "is given twice: expected one ETag")
		case value == "*":
			c.exists = true
		case quoted && closed && tag != "" && !strings.Contains(tag, `"`):
			c.version = store.Version(tag)
		default:
			return c, fault("If-Match", `expected one ETag as GET returns it, quotes included, or *`)
		}
	}
	if values := r.Header.Values("If-None-Match"); len(values) > 0 {
		if len(values) > 1 || strings.TrimSpace(values[0]) != "*" {
			return c, fault("If-None-Match", "expected *, which only creates")
		}
		c.absent = true
	}
	return c, nil
}

// noConditions refuses preconditions where they would not be kept, rather
// than passing them over.
func noConditions(r *http.Request, names ...string) error {
	for _, name := range names {
		if r.Header.Get(name) != "" {
			return fault(name, "is not supported by %s here; leave it out", r.Method)
		}
	}
	return nil
}

// options are the conditions of a write, given the version that is stored, ""
// for none.
func (c conditions) options(stored store.Version) (store.PutOptions, error) {
	o := store.PutOptions{IfMatch: c.version, IfNoneMatch: c.absent}
	if c.exists {
		if stored == "" {
			return o, store.ErrConflict
		}
		o.IfMatch = stored
	}
	return o, nil
}

// versionToDelete is the version that a DELETE demands, "" for any. get reads
// the document of the path, which only If-Match: * asks for.
func versionToDelete[T any](r *http.Request, get func(context.Context, string) (T, store.Version, error)) (store.Version, error) {
	if err := noConditions(r, "If-None-Match"); err != nil {
		return "", err
	}
	given, err := parseConditions(r)
	if err != nil || !given.exists {
		return given.version, err
	}
	_, v, err := get(r.Context(), r.PathValue("id"))
	current, err := storedVersion(v, err)
	if err != nil {
		return "", err
	}
	o, err := given.options(current)
	return o.IfMatch, err
}

// storedVersion is the version that a Get of the store found, "" for none. A
// document that cannot be used has one: replacing it is how it is repaired.
func storedVersion(v store.Version, err error) (store.Version, error) {
	var bad *store.StoredError
	if errors.Is(err, store.ErrNotFound) || errors.As(err, &bad) {
		return v, nil
	}
	return v, err
}
