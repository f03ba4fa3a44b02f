package testserver

import (
	"os"
	"path/filepath"
	"testing"
)

// Fixtures returns the messages of pipeline/contract/testdata/fixtures by the names of their files. dir is "good" or
// "bad". The README in that folder describes the expected result of each message.
func Fixtures(tb testing.TB, dir string) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(root(tb), "pipeline", "contract", "testdata", "fixtures", dir, "*"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no fixtures in %s: %v", dir, err)
	}
	files := make(map[string][]byte, len(paths))
	for _, p := range paths {
		body, err := os.ReadFile(p)
		if err != nil {
			tb.Fatal(err)
		}
		files[filepath.Base(p)] = body
	}
	return files
}

// root is the directory of the repository. A test runs in its package's directory, which is inside it.
func root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "pipeline", "contract")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			tb.Fatalf("%s is not in the repository", start)
		}
	}
}
