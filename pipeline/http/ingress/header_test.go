package ingress

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// httptestGet is the body that h answers a GET with.
func httptestGet(h http.Handler) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	return w.Body.String()
}

func TestPrefersAsync(t *testing.T) {
	tests := []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"respond-async"}, true},
		{[]string{"Respond-ASYNC"}, true},
		{[]string{" respond-async ; wait=10"}, true},
		{[]string{`respond-async=""`}, true},
		{[]string{"respond-async=no"}, false},
		{[]string{"return=minimal, respond-async"}, true},
		{[]string{"return=minimal", "wait=5,respond-async"}, true},
		{[]string{"return=minimal; respond-async"}, false},
		{[]string{`foo="a, respond-async, b"`}, false},
		{[]string{`foo="a\", b", respond-async`}, true},
		{[]string{`foo="a\", respond-async`}, false},
		{[]string{"no-respond-async"}, false},
		{[]string{",,;,="}, false},
	}
	for _, tt := range tests {
		if got := prefersAsync(tt.values); got != tt.want {
			t.Errorf("prefersAsync(%q) = %v", tt.values, got)
		}
	}
}
