package openapi_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/openapi"
	"arrakis/tenant/store"
)

// ask asks the handler.
func ask(t *testing.T, method, header, value string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, openapi.Path, http.NoBody)
	r.Header.Set(header, value)
	w := httptest.NewRecorder()
	openapi.Handler().ServeHTTP(w, r)
	return w
}

// read returns the document. Duplicate names in it are an error.
func read(t *testing.T) (document map[string]any) {
	t.Helper()
	if err := json.Unmarshal(ask(t, http.MethodGet, "", "").Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	return document
}

// at returns what is at a path of names inside a document.
func at(t *testing.T, document any, names ...string) any {
	t.Helper()
	for i, name := range names {
		object, _ := document.(map[string]any)
		value, ok := object[name]
		if !ok {
			t.Fatalf("the document has no %s", strings.Join(names[:i+1], " / "))
		}
		document = value
	}
	return document
}

// The document is served as it is in the repository, and costs a client that has it nothing.
func TestHandler(t *testing.T) {
	file, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	got := ask(t, http.MethodGet, "", "")
	h := got.Header()
	if got.Code != http.StatusOK || got.Body.String() != string(file) || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-cache" {
		t.Errorf("GET: %d with %v and %d bytes, want the %d of the file", got.Code, h, got.Body.Len(), len(file))
	}
	etag := h.Get("ETag")
	if w := ask(t, http.MethodGet, "If-None-Match", etag); etag == "" || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("with the ETag %s: %d, want 304", etag, w.Code)
	}
	if w := ask(t, http.MethodGet, "If-None-Match", `"another"`); w.Code != http.StatusOK {
		t.Errorf("with another ETag: %d", w.Code)
	}
	if w := ask(t, http.MethodHead, "", ""); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
		t.Errorf("HEAD: %d with %d bytes", w.Code, w.Body.Len())
	}
	if w := ask(t, http.MethodPost, "", ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

// Every reference leads somewhere, and no component is left over.
func TestReferences(t *testing.T) {
	document := read(t)
	used := map[string]bool{}
	var walk func(value any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, v := range value {
				walk(v)
			}
		case map[string]any:
			if ref, ok := value["$ref"].(string); ok {
				used[ref] = true
			}
			for _, v := range value {
				walk(v)
			}
		}
	}
	walk(document)
	for ref := range used {
		path, ok := strings.CutPrefix(ref, "#/")
		if !ok {
			t.Errorf("%s is outside of the document", ref)
			continue
		}
		at(t, document, strings.Split(path, "/")...)
	}
	components, _ := at(t, document, "components").(map[string]any)
	notReferred := map[string]bool{
		"#/components/schemas/Change": true, // the data of an event; OpenAPI 3.1 has no way to say so
		"#/components/schemas/Fleet":  true,
	}
	for kind, named := range components {
		if kind == "securitySchemes" { // they are referred to by name
			continue
		}
		for name := range named.(map[string]any) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] && !notReferred[ref] {
				t.Errorf("nothing refers to %s", ref)
			}
		}
	}
}

// The document lists what the code does.
func TestEnumerations(t *testing.T) {
	schemas := at(t, read(t), "components", "schemas")
	for name, want := range map[string][]any{
		"Reason":        values(contract.Reasons()),
		"MessageStream": values(contract.Streams()),
		"AuditType":     values(store.AuditTypes),
	} {
		if diff := cmp.Diff(any(want), at(t, schemas, name, "enum")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func values[S ~string](all []S) (list []any) {
	for _, v := range all {
		list = append(list, string(v))
	}
	return list
}
