package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"

	served "arrakis/pipeline/http/openapi"
)

// document is the description, as it is served.
type document struct {
	root map[string]any
	// requests validates requests; responses validates responses, and refuses members and headers that are not described.
	requests, responses validator.Validator
}

// object is a JSON object of the document.
type object = map[string]any

func newDocument(t *testing.T) *document {
	t.Helper()
	w := httptest.NewRecorder()
	served.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, served.Path, http.NoBody))
	d := new(document)
	if err := json.Unmarshal(w.Body.Bytes(), &d.root); err != nil {
		t.Fatal(err)
	}
	parsed, err := libopenapi.NewDocument(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	build := func(options ...config.Option) validator.Validator {
		v, errs := validator.NewValidator(parsed, append(options, config.WithFormatAssertions())...)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		t.Cleanup(v.Release)
		return v
	}
	d.requests = build(config.WithoutSecurityValidation())
	d.responses = build(config.WithStrictMode(),
		// What HTTP itself needs, and what the document says of all answers.
		config.WithStrictIgnoredHeaders("content-type", "content-length", "date", "cache-control", "x-content-type-options", "connection"),
		// Anything may be in these.
		config.WithStrictIgnorePaths("$.body.result.**", "$.body.data.**", "$.body.entries[*].before.**", "$.body.entries[*].after.**",
			// The names in these are not known before.
			"$.body.checks.*", "$.body.headers.*", "$.body.dead_letters.by_reason.*"),
	)
	return d
}

// operation is one method of one path.
type operation struct {
	path, method string // the method in capitals
	object
}

// operations returns all operations, in an order that stays.
func (d *document) operations() (all []operation) {
	paths := d.at("paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := paths[path].(object)
		for _, method := range []string{"get", "put", "post", "patch", "delete", "head", "options", "trace"} {
			if op, ok := item[method].(object); ok {
				all = append(all, operation{path, strings.ToUpper(method), op})
			}
		}
	}
	return all
}

// at returns the object at a path of names.
func (d *document) at(names ...string) object {
	found := d.root
	for _, name := range names {
		found, _ = found[name].(object)
	}
	return found
}

// resolved returns the object that v is, or refers to.
func (d *document) resolved(v any) object {
	o, _ := v.(object)
	if ref, ok := o["$ref"].(string); ok {
		return d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return o
}

// objects returns the members of an object that are objects, by name.
func objects(v any) map[string]object {
	found := map[string]object{}
	o, _ := v.(object)
	for name, member := range o {
		if m, ok := member.(object); ok {
			found[name] = m
		}
	}
	return found
}

// reasons are errors of a validation as text.
func reasons(errs []*errors.ValidationError) string {
	var text strings.Builder
	for _, e := range errs {
		fmt.Fprintf(&text, "\n\t%s: %s", e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			fmt.Fprintf(&text, "\n\t\t%s: %s", s.FieldPath, s.Reason)
		}
	}
	return text.String()
}

// The document is one of OpenAPI 3.1, and its operations have names of their own.
func TestDocumentIsValid(t *testing.T) {
	d := newDocument(t)
	if d.root["openapi"] != "3.1.0" {
		t.Errorf("it is one of OpenAPI %v", d.root["openapi"])
	}
	if ok, errs := d.responses.ValidateDocument(); !ok {
		t.Error(reasons(errs))
	}
	names := map[any]bool{}
	for _, op := range d.operations() {
		if name := op.object["operationId"]; names[name] {
			t.Errorf("%s %s: %v is the name of two operations", op.method, op.path, name)
		} else {
			names[name] = true
		}
	}
}
