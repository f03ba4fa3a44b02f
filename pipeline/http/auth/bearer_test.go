package auth

import (
	"strings"
	"testing"
)

func TestNewBearer(t *testing.T) {
	for token, ok := range map[string]bool{
		"": true, "a": true, "A-._~+/=": true, "a b": false, "a\n": false, "ключ": false,
		strings.Repeat("x", 4_096): true, strings.Repeat("x", 4_097): false,
	} {
		b, err := NewBearer(token)
		if (err == nil) != ok || b.Required() != (ok && token != "") {
			t.Errorf("NewBearer(%.20q) = required %v, %v", token, b.Required(), err)
		}
	}
}
