package tenant_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDeps holds the direction of imports. The model is plain values without I/O, so that whatever stores or serves a
// tenant can use it; what keeps and watches them knows Redis, but no NATS, no HTTP and nothing else of arrakis.
func TestDeps(t *testing.T) {
	t.Parallel()
	for _, dep := range goList(t, "-deps", "arrakis/tenant") {
		if isAny(dep, "arrakis", "github.com/redis", "github.com/nats-io", "net/http", "context") && dep != "arrakis/tenant" {
			t.Errorf("tenant imports %s: the model does no I/O and knows nothing else of arrakis", dep)
		}
	}
	for _, self := range []string{"arrakis/tenant/store", "arrakis/tenant/watch", "arrakis/tenant/record"} {
		for _, dep := range goList(t, "-deps", self) {
			if isAny(dep, "github.com/nats-io") || isAny(dep, "arrakis") && !isAny(dep, "arrakis/tenant") {
				t.Errorf("%s imports %s: only pipeline and cmd know NATS, and imports point to tenant", self, dep)
			}
		}
		// Own imports only: the Prometheus client brings net/http along.
		for _, dep := range goList(t, "-f", `{{join .Imports "\n"}}`, self) {
			if isAny(dep, "net/http") {
				t.Errorf("%s imports %s: only pipeline and cmd know HTTP", self, dep)
			}
		}
	}
	for _, dep := range goList(t, "-deps", "arrakis/tenant/store") {
		if isAny(dep, "arrakis/tenant/watch") {
			t.Errorf("store imports %s: the store does not know its watchers", dep)
		}
	}
}

// isAny reports whether path is one of the packages or below one.
func isAny(path string, packages ...string) bool {
	for _, p := range packages {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}

// goList returns the lines that go list prints.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}
