package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"arrakis/pipeline/http/body"
	"arrakis/tenant"
)

// patchType is the media type of a JSON merge patch.
const patchType = "application/merge-patch+json"

// readBody reads a document of one of the media types.
func readBody(w http.ResponseWriter, r *http.Request, types ...string) ([]byte, error) {
	rules := body.Rules{MaxBytes: tenant.MaxDocument, Types: types, TooLarge: "Make the document smaller."}
	data, p := rules.Read(w, r)
	if p != nil {
		return nil, &problemError{p}
	}
	return data, nil
}

// checkQuery refuses a query parameter that is not among names, or is given twice.
func checkQuery(r *http.Request, names []string) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault("query", "is not well-formed; escape special characters as %%XX")
	}
	var errs []error
	for name, v := range values {
		switch {
		case len(names) == 0:
			errs = append(errs, fault(name, "is unknown; this path has no query parameters"))
		case !slices.Contains(names, name):
			errs = append(errs, fault(name, "is unknown; known are %s", strings.Join(names, ", ")))
		case len(v) > 1:
			errs = append(errs, fault(name, "is given twice; keep one"))
		}
	}
	return errors.Join(errs...)
}

// fault is a fault of one part of a request. A field whose name the client chose is cut, so that it does not fill the
// answer.
func fault(field, format string, args ...any) error {
	return &tenant.FieldError{Field: fmt.Sprintf("%.64s", field), Reason: fmt.Sprintf(format, args...)}
}
