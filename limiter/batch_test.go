package limiter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

func TestLargeBatch(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		ids := make([]string, 3000) // several chunks of the script
		for i := range ids {
			ids[i] = fmt.Sprint("event-", i%2500)
		}
		got, left := ask(t, l, "comm_007:command", Limit{Max: 2400, Window: time.Minute}, ids...)
		want := strings.Repeat("1", 2400) + strings.Repeat("0", 100) + strings.Repeat("2", 500)
		if got != want || left != 0 {
			t.Errorf("verdicts of 3000 IDs differ, left %d", left)
		}
	})
}

func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "127.0.0.1:1", settings{}, nil)
	minute := Limit{Max: 1, Window: time.Minute}
	for name, r := range map[string]*Request{
		"no window": {Limit: minute, ID: "a"},
		"no ID":     {Window: NewWindow("k"), Limit: minute},
		"mark":      {Window: NewWindow("k"), Limit: minute, ID: "\x01a"},
		"max":       {Window: NewWindow("k"), Limit: Limit{Max: -2, Window: time.Minute}, ID: "a"},
		"short":     {Window: NewWindow("k"), Limit: Limit{Max: 1, Window: time.Millisecond}, ID: "a"},
		"long":      {Window: NewWindow("k"), Limit: Limit{Max: 1, Window: 25 * time.Hour}, ID: "a"},
		"fraction":  {Window: NewWindow("k"), Limit: Limit{Max: 1, Window: time.Second + 1}, ID: "a"},
	} {
		if err := l.AllowBatch(t.Context(), []*Request{r}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := l.Check(t.Context(), "k", Limit{}); err == nil {
		t.Error("Check takes the zero limit")
	}
	if _, err := l.Usage(t.Context(), "k", Limit{}); err == nil {
		t.Error("Usage takes the zero limit")
	}
}
