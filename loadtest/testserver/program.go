package testserver

import (
	"os"
	"os/exec"
	"testing"
)

// Program is the path of an installed program. Where it is missing, the test is skipped on a developer's machine and
// fails with CI set.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("%s is not installed, and CI needs it: %v", name, err)
		}
		tb.Skipf("%s is not installed: %v", name, err)
	}
	return path
}
