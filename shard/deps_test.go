package shard

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDeps keeps shards usable without a broker and a web server: they take plain values.
func TestDeps(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "arrakis/shard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		if strings.HasPrefix(dep, "arrakis/pipeline") || strings.HasPrefix(dep, "github.com/nats-io/") {
			t.Errorf("shard imports %s: messages come to a shard as plain values, imports point one way", dep)
		}
	}
}
