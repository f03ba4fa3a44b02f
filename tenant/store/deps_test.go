package store_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestDeps holds the direction of imports: this package knows nothing of NATS,
// of HTTP or of the rest of arrakis.
func TestDeps(t *testing.T) {
	t.Parallel()
	for _, pkg := range goList(t, "-deps", ".") {
		if strings.HasPrefix(pkg, "github.com/nats-io/") {
			t.Errorf("%s is imported: tenants know nothing of NATS", pkg)
		}
		if strings.HasPrefix(pkg, "arrakis/") && !slices.Contains(allowed, pkg) {
			t.Errorf("%s is imported: imports point to tenant only", pkg)
		}
	}
	// Own imports only: libraries bring net/http along.
	for _, pkg := range goList(t, "-f", `{{join .Imports "\n"}}`, ".") {
		if strings.HasPrefix(pkg, "net/http") {
			t.Errorf("%s is imported: tenants know nothing of HTTP", pkg)
		}
	}
}

var allowed = []string{"arrakis/tenant", "arrakis/tenant/store"}

// goList returns the lines that go list prints.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}
