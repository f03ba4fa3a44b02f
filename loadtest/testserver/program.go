package testserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program is the path of an installed program, from the first of the directories that has it, or else from the PATH.
// Where it is missing, the test is skipped on a developer's machine and fails with CI set.
func Program(tb testing.TB, name string, dirs ...string) string {
	tb.Helper()
	path, err := program(name, dirs...)
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("%s is not installed, and CI needs it: %v", name, err)
		}
		tb.Skipf("%s is not installed: %v", name, err)
	}
	return path
}

func program(name string, dirs ...string) (string, error) {
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}
