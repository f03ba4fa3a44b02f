package auth

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestNewBearer(t *testing.T) {
	for token, ok := range map[string]bool{
		"": false, "a": true, "A-._~+/=": true, "a b": false, "a\n": false, "ключ": false,
		strings.Repeat("x", 4_096): true, strings.Repeat("x", 4_097): false,
	} {
		for _, tokens := range [][]string{{token}, {"other", token}} {
			b, err := NewBearer(tokens...)
			if (err == nil) != ok || b.Required() != ok {
				t.Errorf("NewBearer(%.20q) = required %v, %v", tokens, b.Required(), err)
			}
		}
	}
	if b, err := NewBearer(); err != nil || b.Required() {
		t.Errorf("no token: required %v, %v", b.Required(), err)
	}
	if _, err := NewBearer(slices.Repeat([]string{"a"}, maxTokens+1)...); err == nil {
		t.Error("too many tokens: no error")
	}
}

// TestRotation: each of the tokens is accepted, wherever it is in the list, and nothing else.
func TestRotation(t *testing.T) {
	b, err := NewBearer("old", "new", "newest")
	if err != nil {
		t.Fatal(err)
	}
	for token, ok := range map[string]bool{"old": true, "new": true, "newest": true, "": false, "ol": false, "old,new": false} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		h := http.Header{}
		if p := b.Check(h, r); (p == nil) != ok || (h.Get("WWW-Authenticate") == "") != ok {
			t.Errorf("%q: %+v %v", token, p, h)
		}
	}
}
