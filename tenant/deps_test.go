package tenant_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDeps holds the direction of imports: the model is plain values without
// I/O, so that whatever stores or serves a tenant can use it.
func TestDeps(t *testing.T) {
	t.Parallel()
	const self = "arrakis/tenant"
	out, err := exec.Command("go", "list", "-deps", self).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		switch {
		case strings.HasPrefix(pkg, "arrakis/") && pkg != self:
			t.Errorf("%s is imported: tenant stands at the bottom of arrakis", pkg)
		case strings.HasPrefix(pkg, "github.com/redis/"), strings.HasPrefix(pkg, "github.com/nats-io/"),
			strings.HasPrefix(pkg, "net/http"), pkg == "context":
			t.Errorf("%s is imported: the model does no I/O", pkg)
		}
	}
}
