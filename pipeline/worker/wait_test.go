package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		start := time.Now()
		var at []time.Duration
		err := retry(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), "Redis", func(context.Context) error {
			if at = append(at, time.Since(start)); len(at) < 8 {
				return errors.New("refused")
			}
			return nil
		})
		if err != nil || len(at) != 8 {
			t.Fatalf("%v after %d tries", err, len(at))
		}
		wait := firstRetry
		for i := 1; i < len(at); i++ {
			if d := at[i] - at[i-1]; d > wait || d < wait*3/4 {
				t.Errorf("wait %d is %s, want up to a quarter less than %s", i, d, wait)
			}
			wait = min(2*wait, lastRetry)
		}
		if n := strings.Count(log.String(), "msg=waiting for=Redis"); n != 7 || !strings.Contains(log.String(), "wait is over") {
			t.Errorf("the log:\n%s", log.String())
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = retry(ctx, slog.New(slog.DiscardHandler), "Redis", func(context.Context) error { return errors.New("refused") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of ctx: %v", err)
		}
	})
}
