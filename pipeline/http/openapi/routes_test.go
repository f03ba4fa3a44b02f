package openapi_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/openapi"
	"arrakis/pipeline/http/problem"
)

// source is a file of Go, without tests.
type source struct {
	folder string // below pipeline
	file   *ast.File
}

// sources parses the program, apart from limits, tenants and shards, which know nothing of HTTP.
func sources(t *testing.T) (all []source) {
	t.Helper()
	const pipeline = "../.."
	for _, pattern := range []string{"*.go", "*/*.go", "*/*/*.go", "../cmd/*/*.go"} {
		files, err := filepath.Glob(filepath.Join(pipeline, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			folder, err := filepath.Rel(pipeline, filepath.Dir(name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, source{folder, file})
		}
	}
	return all
}

// routing are the packages that say which paths are served: those that register paths with a ServeMux, and the table of
// routes, which the ingress serves.
var routing = []string{"contract", "http/admin", "http/console", "http/discord", "http/ops", "worker"}

// TestRoutingIsKnown finds a package that registers paths and is not in routing, so that the test below would not see
// its paths.
func TestRoutingIsKnown(t *testing.T) {
	found := []string{"contract"}
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Handle" || f.Sel.Name == "HandleFunc") && !slices.Contains(found, s.folder) {
				found = append(found, s.folder)
			}
			return true
		})
	}
	slices.Sort(found)
	if !slices.Equal(found, routing) {
		t.Errorf("packages with paths are %q, want %q: let the tests here look at all of them", found, routing)
	}
}

// notDescribed are the paths that are served and not described, with the reason.
var notDescribed = map[string]string{
	"/":        "the console, or the problem for what is not served",
	"/v1/":     "the admin API, whose paths are described",
	"/login":   "the console",
	"/logout":  "the console",
	"/assets/": "the console",
}

// A path that is served is a text in the code that serves it, and is described. Methods are compared by the tests in
// loadtest/openapi.
func TestEveryPathIsDescribed(t *testing.T) {
	described, _ := at(t, read(t), "paths").(map[string]any)
	path := regexp.MustCompile(`^/[a-z0-9_.{}/-]*$`)
	seen := 0
	for _, s := range sources(t) {
		if !slices.Contains(routing, s.folder) || s.folder == "http/console" { // pages for people
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			text, ok := literal(n)
			if !ok || !path.MatchString(text) {
				return true
			}
			seen++
			_, ok = described[text]
			if _, excepted := notDescribed[text]; !ok && !excepted {
				t.Errorf("package %s has the path %s, which openapi.json does not describe", s.folder, text)
			}
			return true
		})
	}
	if seen < 30 {
		t.Errorf("%d paths found in the code, want at least 30: has its form changed?", seen)
	}
	for _, r := range contract.Routes() {
		if r.HTTPPath != "" {
			at(t, described, r.HTTPPath, "post")
		}
	}
	at(t, described, openapi.Path, "get")
}

// Every type of problem that the code names is one of the document's, and none of the document's is left over.
func TestEveryProblemIsDescribed(t *testing.T) {
	types, _ := at(t, read(t), "components", "schemas", "Problem", "properties", "type", "enum").([]any)
	named := map[string]bool{}
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.folder, "http/") || s.folder == "http/console" { // its problems are pages
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if text, ok := literal(n); ok {
				named[text] = true
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			name, ok := literal(call.Args[1])
			isNew := false
			switch f := call.Fun.(type) {
			case *ast.Ident:
				isNew = f.Name == "New" && s.folder == "http/problem"
			case *ast.SelectorExpr:
				x, _ := f.X.(*ast.Ident)
				isNew = x != nil && x.Name == "problem" && f.Sel.Name == "New"
			}
			if ok && isNew && !slices.Contains(types, any(problem.TypePrefix+name)) {
				t.Errorf("package %s has the problem %s, which openapi.json does not name", s.folder, name)
			}
			return true
		})
	}
	for _, v := range types {
		text, _ := v.(string)
		if name, ok := strings.CutPrefix(text, problem.TypePrefix); !ok || !named[name] {
			t.Errorf("openapi.json has the problem %s, which no code names", v)
		}
	}
}

// literal returns the text of a string literal.
func literal(n ast.Node) (string, bool) {
	l, ok := n.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}
