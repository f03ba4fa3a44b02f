package idempotency

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	_, err := New(nil, Options{Keep: -2, Lease: -1, MaxAnswer: -1, MaxPerCommunity: -1, MemoryBytes: -1})
	if err == nil {
		t.Fatal("New took bad options")
	}
	for _, field := range []string{"client", "Health", "Keep", "Lease", "MaxAnswer", "MaxPerCommunity", "MemoryBytes"} {
		if !strings.Contains(err.Error(), field+" ") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}
