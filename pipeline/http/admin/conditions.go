package admin

import (
	"errors"
	"net/http"
	"strings"

	"arrakis/tenant/store"
)

// conditions are the preconditions of a request. The zero value is a request without preconditions.
type conditions struct {
	exists  bool          // If-Match: *
	absent  bool          // If-None-Match: *
	version store.Version // If-Match with one tag
}

// parseConditions reads If-Match and If-None-Match. Several tags are refused, because a document has one version at a
// time and a client that has read the document knows that version. A weak tag is refused, because arrakis returns no
// weak tags.
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

// noConditions refuses preconditions that the method does not check, so that they are not ignored silently.
func noConditions(r *http.Request, names ...string) error {
	for _, name := range names {
		if r.Header.Get(name) != "" {
			return fault(name, "is not supported by %s here; leave it out", r.Method)
		}
	}
	return nil
}

// options are the conditions as the store takes them. stored is the version of the document in Redis, "" if there is no
// document.
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

// storedVersion is the version of the document that the store's Get found, "" if there is no document. A document that
// cannot be used has a version too, so that a PUT can repair it.
func storedVersion(v store.Version, err error) (store.Version, error) {
	var bad *store.StoredError
	if errors.Is(err, store.ErrNotFound) || errors.As(err, &bad) {
		return v, nil
	}
	return v, err
}
