package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"arrakis/pipeline/attempts"
	"arrakis/pipeline/contract"
)

func TestHandled(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("handlers.command.x: %w", err) }
	tests := []struct {
		name       string
		err        error
		attempt    int
		settlement settlement
		reason     contract.Reason
		code       int
		errorType  errorType
	}{
		{"success", nil, 1, ack, "", 0, errorNone},
		{"plain", errors.New("x"), 1, nak, "", 500, errorHandler},
		{"plain, last", errors.New("x"), 3, term, contract.ReasonAttemptsExhausted, 500, errorHandler},
		{"beyond the last", errors.New("x"), 7, term, contract.ReasonAttemptsExhausted, 500, errorHandler},
		{"4xx", Permanent(404, "no such page"), 1, term, contract.ReasonHandlerError, 404, errorHandler},
		{"4xx wrapped", wrap(Permanent(404, "no such page")), 1, term, contract.ReasonHandlerError, 404, errorHandler},
		{"5xx wrapped", wrap(&HandlerError{Code: 503, Message: "busy"}), 2, nak, "", 502, errorHandler},
		{"5xx, last", wrap(&HandlerError{Code: 503, Message: "busy"}), 3, term, contract.ReasonAttemptsExhausted, 502, errorHandler},
		{"nobody answers", wrap(&noHandlerError{"handlers.command.x"}), 1, nak, "", 502, errorNoHandler},
		{"time is up", wrap(context.DeadlineExceeded), 1, nak, "", 504, errorTimeout},
		{"panic", wrap(&panicError{value: "x"}), 1, term, contract.ReasonPanic, 500, errorPanic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := handled(tt.err, tt.attempt, 3)
			if c.settlement != tt.settlement || c.reason != tt.reason || c.errorType != tt.errorType {
				t.Errorf("disposition %+v", c)
			}
			if (c.status == contract.StatusOK) != (tt.err == nil) {
				t.Errorf("status %s", c.status)
			}
			code := 0
			if c.failure != nil {
				code = c.failure.Code
			}
			if code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if (c.settlement == nak) != (c.delay > 0) {
				t.Errorf("delay %v", c.delay)
			}
		})
	}
}

func TestRejected(t *testing.T) {
	nobody, somebody := func() string { return "" }, func() string { return "_INBOX.x" }
	if c := rejected(false, nobody, time.Second); c.settlement != ack || c.status != contract.StatusRateLimited || c.failure.Code != 429 {
		t.Errorf("over the limit: %+v", c)
	}
	if c := rejected(true, somebody, time.Second); c.settlement != ack || c.failure.Code != 503 {
		t.Errorf("no Redis, the sender waits: %+v", c)
	}
	if c := rejected(true, nobody, time.Second); c.settlement != nak || c.delay < time.Second {
		t.Errorf("no Redis, nobody waits: %+v, want it kept", c)
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	last := time.Duration(0)
	for attempt := 1; attempt < 100; attempt++ {
		d := backoff(attempt)
		if d <= 0 || d > longestDelay {
			t.Fatalf("backoff(%d) = %v", attempt, d)
		}
		if attempt <= 5 && d <= last {
			t.Errorf("backoff(%d) = %v, after %v", attempt, d, last)
		}
		last = d
	}
}

// A message is blamed for the death of workers only if they died more often than its handler failed.
func TestExhausted(t *testing.T) {
	for _, tt := range []struct {
		earlier attempts.Count
		reason  contract.Reason
		cause   string
	}{
		{attempts.Count{Failed: 3}, contract.ReasonAttemptsExhausted, "the handler failed 3 times"},
		{attempts.Count{Failed: 4, Died: 1}, contract.ReasonAttemptsExhausted, "the worker died 1 times while it handled this message; the handler failed 4 times"},
		{attempts.Count{Died: 1}, contract.ReasonWorkerKilled, "the worker died 1 times while it handled this message; the handler failed 0 times"},
		{attempts.Count{Failed: 1, Died: 2}, contract.ReasonWorkerKilled, "the worker died 2 times while it handled this message; the handler failed 1 times"},
	} {
		if d := exhausted(tt.earlier); d.reason != tt.reason || d.cause != tt.cause || d.settlement != term {
			t.Errorf("%+v: %s, %q", tt.earlier, d.reason, d.cause)
		}
	}
}
