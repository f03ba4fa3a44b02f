package limiter

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDeps keeps the limiter a library of its own. HTTP is looked for among its own imports only: the metrics library
// brings net/http along through expvar.
func TestDeps(t *testing.T) {
	t.Parallel()
	for _, dep := range goList(t, "-deps", ".") {
		switch {
		case dep == "arrakis/limiter", dep == "arrakis/limiter/redishealth", dep == "arrakis/limiter/redisscript":
		case strings.HasPrefix(dep, "arrakis/"):
			t.Errorf("depends on %s: imports point from shard to limiter only", dep)
		case strings.HasPrefix(dep, "github.com/nats-io/"):
			t.Errorf("depends on %s: only cmd and pipeline know NATS", dep)
		}
	}
	for _, dep := range goList(t, "-f", `{{join .Imports "\n"}}`, ".") {
		if dep == "net/http" {
			t.Errorf("imports %s: only cmd and pipeline know HTTP", dep)
		}
	}
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
