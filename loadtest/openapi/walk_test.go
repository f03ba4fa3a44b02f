package openapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// servers are the addresses of a path by their names in the document.
func (s *site) servers(path string) (urls map[string]string, all map[string]string) {
	s.t.Helper()
	all = map[string]string{"{ingress}": s.ingress, "{ops}": s.ops}
	list, ok := s.at("paths", path)["servers"].([]any)
	if !ok {
		list, _ = s.root["servers"].([]any)
	}
	urls = map[string]string{}
	for _, v := range list {
		name, _ := v.(object)["url"].(string)
		if all[name] == "" {
			s.t.Errorf("%s: the server %s is unknown", path, name)
		}
		urls[name] = all[name]
	}
	return urls, all
}

// example returns a path with examples as its parameters.
func (s *site) example(op operation) string {
	s.t.Helper()
	path := op.path
	lists := append(slices.Clone(list(s.at("paths", op.path)["parameters"])), list(op.object["parameters"])...)
	for _, v := range lists {
		p := s.resolved(v)
		if p["in"] != "path" {
			continue
		}
		text := text(p["example"])
		if text == "" {
			s.t.Errorf("%s: the parameter %s has no example", op.path, p["name"])
		}
		path = strings.ReplaceAll(path, "{"+p["name"].(string)+"}", text)
	}
	return path
}

// anyMethod are the paths that answer every method alike.
var anyMethod = regexp.MustCompile(`^/(metrics$|debug/pprof/)`)

// Each path is served at the addresses that the document names, and not at the other; with the methods that it names,
// and no others.
func TestEveryPathIsServed(t *testing.T) {
	s := newSite(t, nil)
	methods := map[string][]string{}
	for _, op := range s.operations() {
		methods[op.path] = append(methods[op.path], op.method)
	}
	for _, op := range s.operations() {
		path := s.example(op)
		if op.path == "/debug/pprof/profile" || op.path == "/debug/pprof/trace" {
			path += "?seconds=1"
		}
		at, all := s.servers(op.path)
		for name, url := range all {
			status, _, body := s.probe(url, op.method, path)
			notServed := status == http.StatusNotFound && strings.Contains(body, "Nothing is served at") || status == http.StatusMethodNotAllowed
			switch described := at[name] != ""; {
			case described && (notServed || status >= 500):
				t.Errorf("%s %s at %s is not served: %d %s", op.method, path, name, status, body)
			case !described && !notServed:
				t.Errorf("%s %s is served at %s, and the document does not say so: %d %s", op.method, path, name, status, body)
			}
			if at[name] == "" || anyMethod.MatchString(op.path) {
				continue
			}
			status, allow, body := s.probe(url, "BREW", path)
			served := strings.Split(allow, ", ")
			if head := slices.Index(served, http.MethodHead); head >= 0 {
				served = slices.Delete(served, head, head+1)
			} else if slices.Contains(served, http.MethodGet) && op.path != "/v1/stream" {
				t.Errorf("%s at %s serves GET and not HEAD", path, name)
			}
			slices.Sort(served)
			want := slices.Sorted(slices.Values(methods[op.path]))
			if status != http.StatusMethodNotAllowed || !slices.Equal(served, want) {
				t.Errorf("%s at %s serves %q, but %q are described: %d %s", path, name, served, want, status, body)
			}
		}
	}
}

// probe asks with the token of the address, and reads no more than the beginning of the answer.
func (s *site) probe(base, method, path string) (status int, allow, body string) {
	s.t.Helper()
	token := adminToken
	if base == s.ingress {
		token = ingressToken
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	resp, err := s.client.Do(s.request(base, token, request{method: method, path: path}).WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Allow"), line
}
