package limiter

import (
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

func TestResetAndRelease(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		limit := Limit{Max: 2, Window: time.Minute}
		step := func(want string, ids ...string) {
			t.Helper()
			if got, _ := ask(t, l, "k", limit, ids...); got != want {
				t.Errorf("%v: verdicts %s, want %s", ids, got, want)
			}
		}
		step("110", "a", "b", "c")
		if err := l.Release(t.Context(), "k", "b", "nobody"); err != nil {
			t.Fatal(err)
		}
		step("102", "c", "b", "a")
		if err := l.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		step("110", "b", "a", "c")
	})
}

// TestResetPrefix: a prefix is text, also where it holds what means something in a pattern of SCAN.
func TestResetPrefix(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		limit := Limit{Max: 1, Window: time.Minute}
		keys := []string{"c[1]*/ann", "c[1]*/bob", "c1x/ann", "c1*/ann", `c[1]\*/ann`, "a/c[1]*/ann"}
		for _, key := range keys {
			ask(t, l, key, limit, "before")
		}
		if err := l.ResetPrefix(t.Context(), "c[1]*/"); err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			want := "0"
			if i < 2 {
				want = "1"
			}
			if got, _ := ask(t, l, key, limit, "after"); got != want {
				t.Errorf("%s: verdict %s after the reset, want %s", key, got, want)
			}
		}
	})
}
