package limiter

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(nil, Options{}); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	_, err := New(nil, Options{OnRedisDown: 7, MaxKeys: -1, MaxQueued: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"OnRedisDown", "MaxKeys", "MaxQueued"} {
		if !strings.Contains(err.Error(), field+":") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	for p, want := range map[Policy]string{Local: "local", Open: "open", Closed: "closed", 7: "policy(7)"} {
		if got := p.String(); got != want {
			t.Errorf("policy %d is %q, want %q", int(p), got, want)
		}
	}
}
