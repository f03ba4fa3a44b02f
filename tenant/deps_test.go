package tenant_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDeps holds the direction of imports: this package knows nothing of NATS,
// HTTP or the rest of arrakis, so that it can be tested and reused alone. HTTP
// is looked at in this package only: the Prometheus client brings net/http
// along for its text format.
func TestDeps(t *testing.T) {
	t.Parallel()
	const self = "arrakis/tenant"
	out, err := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, self).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(pkg, "github.com/nats-io/") {
			t.Errorf("%s is imported: tenants know nothing of NATS", pkg)
		}
		if strings.HasPrefix(pkg, "arrakis/") && pkg != self {
			t.Errorf("%s is imported: tenant stands at the bottom of arrakis", pkg)
		}
		if pkg != self {
			continue
		}
		for path := range strings.FieldsSeq(imports) {
			if path == "net/http" || strings.HasPrefix(path, "net/http/") {
				t.Errorf("%s is imported: tenants know nothing of HTTP", path)
			}
		}
	}
}
