package testserver_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/loadtest/testserver"
)

func TestEventually(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		testserver.Eventually(t, "half of it is over", func() bool { return time.Since(start) > testserver.Patience/2 })
		start = time.Now()
		r := try(t, func(tb testing.TB) { testserver.Eventually(tb, "pigs fly", func() bool { return false }) })
		if !strings.Contains(r.failed, "not within 1m0s: pigs fly") || time.Since(start) != testserver.Patience {
			t.Errorf("failed with %q after %v", r.failed, time.Since(start))
		}
	})
}

// TestEventuallyAtTheEnd: the last look counts, though it comes after the time.
func TestEventuallyAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		testserver.Eventually(t, "all of it is over", func() bool { return time.Since(start) >= testserver.Patience })
	})
}

func TestSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		testserver.Succeeds(t, "the third try", func() error {
			if n++; n < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		r := try(t, func(tb testing.TB) { testserver.Succeeds(tb, "any", func() error { return errors.New("tired") }) })
		if n != 3 || !strings.Contains(r.failed, "any: tired") {
			t.Errorf("%d tries, failed with %q", n, r.failed)
		}
	})
}

func TestGolden(t *testing.T) {
	t.Chdir(t.TempDir())
	check := func(got string) string {
		return try(t, func(tb testing.TB) { testserver.Golden(tb, "a/b.txt", got) }).failed
	}
	if failed := check("x\n"); !strings.Contains(failed, "-update") {
		t.Errorf("without a file: %q", failed)
	}
	if err := flag.Set("update", "true"); err != nil {
		t.Fatal(err)
	}
	if failed := check("x\n"); failed != "" {
		t.Error(failed)
	}
	if err := flag.Set("update", "false"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("testdata/a/b.txt"); string(got) != "x\n" {
		t.Errorf("-update wrote %q, %v", got, err)
	}
	if failed := check("x\n"); failed != "" {
		t.Errorf("the same text: %q", failed)
	}
	if failed := check("y\n"); !strings.Contains(failed, "-want +got") {
		t.Errorf("another text: %q", failed)
	}
}
