package openapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// text is an example as it is written into a path.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// see remembers which descriptions of answers were compared with an answer.
func (s *site) see(r *http.Request, status int) {
	for _, op := range s.operations() {
		if op.method != r.Method || !matches(op.path, r.URL.Path) {
			continue
		}
		responses := objects(op.object["responses"])
		for _, code := range []string{strconv.Itoa(status), fmt.Sprintf("%dXX", status/100)} {
			if described, ok := responses[code]; ok {
				s.seen[op.method+" "+op.path+" "+code] = true
				s.seen[text(described["$ref"])] = true
				return
			}
		}
	}
}

// matches reports whether a path is one of a template.
func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// notSeen reports the answers of operations with these tags that no request of the test was answered with, but for those
// that are known: a status, or an operation and a status.
func (s *site) notSeen(tags string, known ...string) {
	s.t.Helper()
	for _, op := range s.operations() {
		tag, _ := list(op.object["tags"])[0].(string)
		if !strings.Contains(tags, tag) {
			continue
		}
		for code, response := range objects(op.object["responses"]) {
			name := op.method + " " + op.path + " " + code
			if s.seen[name] || s.seen[text(response["$ref"])] && code[0] != '2' || slices.Contains(known, code) || slices.Contains(known, name) {
				continue
			}
			s.t.Errorf("no request was answered %s", name)
		}
	}
}
