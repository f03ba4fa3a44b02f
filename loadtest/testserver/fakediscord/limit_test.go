package fakediscord

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	l := limits{channels: make(map[string][]time.Time)}
	start := time.Now()
	// calls makes n calls at a time and returns what the first one that is refused was told, "" if none was.
	calls := func(n int, i *interaction, at time.Duration) string {
		for range n {
			if f := l.count(make(http.Header), i, start.Add(at)); f != nil {
				return fmt.Sprintf("%d %s %v", f.Status, f.Scope, f.RetryAfter)
			}
		}
		return ""
	}
	one, other := &interaction{channel: "1"}, &interaction{channel: "2"}
	for n, tt := range []struct {
		calls int
		of    *interaction
		at    time.Duration
		want  string
	}{
		{4, one, 0, ""},
		{1, one, time.Second, ""},
		{1, one, 1900 * time.Millisecond, "429 user 100ms"},
		{4, one, 2 * time.Second, ""}, // what is refused does not count
		{1, one, 2500 * time.Millisecond, "429 user 500ms"},
		{5, one, 10 * time.Second, ""},
		{5, one, 20 * time.Second, ""},
		{5, one, 30 * time.Second, ""},
		{5, one, 40 * time.Second, ""},
		{1, &interaction{channel: "1"}, 50 * time.Second, ""},
		{1, &interaction{channel: "1"}, 51 * time.Second, "429 shared 9s"},
		{5, other, 51 * time.Second, ""},
		{4, &interaction{channel: "1"}, time.Minute, ""},
		{1, &interaction{channel: "1"}, time.Minute, "429 shared 1s"},
	} {
		if got := calls(tt.calls, tt.of, tt.at); got != tt.want {
			t.Errorf("%d: %d calls at %v: %q, want %q", n, tt.calls, tt.at, got, tt.want)
		}
	}
}
