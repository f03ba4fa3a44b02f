package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/attempts"
	"arrakis/pipeline/contract"
)

func TestHandled(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("handlers.command.x: %w", err) }
	nobody := wrap(&noHandlerError{"handlers.command.x"})
	policy := retryPolicy{backoff: []time.Duration{time.Second, 5 * time.Second, time.Minute}, until: time.Hour}
	stored := time.Unix(1_700_000_000, 0)
	at := func(attempt int, age, wait time.Duration) *try {
		return &try{attempt: attempt, maxAttempts: 3, earlier: attempt - 1, stored: stored, now: stored.Add(age), wait: wait}
	}
	late := at(70, 2*time.Hour, 0) // 70 tries, the last ones a minute apart
	expires := *late
	expires.expires = true
	waited := at(2, 2*time.Hour, 0) // for its first try
	tests := []struct {
		name       string
		err        error
		try        *try
		settlement settlement
		reason     contract.Reason
		code       int
		errorType  errorType
	}{
		{"success", nil, at(1, 0, 0), ack, "", 0, errorNone},
		{"plain", errors.New("x"), at(1, 0, 0), nak, "", 500, errorHandler},
		{"plain, last", errors.New("x"), at(3, 0, 0), term, contract.ReasonAttemptsExhausted, 500, errorHandler},
		{"beyond the last", errors.New("x"), at(7, 0, 0), term, contract.ReasonAttemptsExhausted, 500, errorHandler},
		{"the sender waits", errors.New("x"), at(1, 0, 10*time.Second), nak, "", 500, errorHandler},
		{"the sender would not wait for the next", errors.New("x"), at(2, 6*time.Second, 10*time.Second), ack, "", 500, errorHandler},
		{"the last, and the sender waits", errors.New("x"), at(3, 6*time.Second, 10*time.Second), term, contract.ReasonAttemptsExhausted, 500, errorHandler},
		{"4xx", Permanent(404, "no such page"), at(1, 0, 0), ack, "", 404, errorNone},
		{"4xx wrapped", wrap(Permanent(404, "no such page")), at(1, 0, 0), ack, "", 404, errorNone},
		{"5xx wrapped", wrap(&HandlerError{Code: 503, Message: "busy"}), at(2, 0, 0), nak, "", 502, errorHandler},
		{"5xx, last", wrap(&HandlerError{Code: 503, Message: "busy"}), at(3, 0, 0), term, contract.ReasonAttemptsExhausted, 502, errorHandler},
		{"nobody answers", nobody, at(1, 0, 0), nak, "", 502, errorNoHandler},
		{"nobody answers, and that is no attempt", nobody, at(30, time.Minute, 0), nak, "", 502, errorNoHandler},
		{"nobody has answered for long", nobody, late, term, contract.ReasonNoHandler, 502, errorNoHandler},
		{"nobody answers a command that will expire", nobody, &expires, nak, "", 502, errorNoHandler},
		{"nobody answers a message that has waited for long", nobody, waited, nak, "", 502, errorNoHandler},
		{"nobody answers, and the sender waits", nobody, at(2, 6*time.Second, 10*time.Second), ack, "", 502, errorNoHandler},
		{"too large for a request", tooLargeError{}, at(1, 0, 0), term, contract.ReasonNoHandler, 413, errorNoHandler},
		{"time is up", wrap(context.DeadlineExceeded), at(1, 0, 0), nak, "", 504, errorTimeout},
		{"panic", wrap(&panicError{value: "x"}), at(1, 0, 0), term, contract.ReasonPanic, 500, errorPanic},
		{"a result that cannot be sent", &resultError{errors.New("x")}, at(1, 0, 0), ack, "", 502, errorHandler},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := policy.handled(tt.err, tt.try)
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
			if refused := code >= 400 && code <= 499 && tt.settlement == ack; c.refused != refused {
				t.Errorf("refused %t, want %t", c.refused, refused)
			}
		})
	}
}

// No failure, and so no sender and no log, has the token of an interaction that a handler's error names.
func TestFailuresHaveNoTokens(t *testing.T) {
	const token = "aW50ZXJhY3Rpb246c2VjcmV0"
	for _, err := range []error{
		errors.New(token), Permanent(404, token), &HandlerError{Code: 500, Message: token}, &HandlerError{Code: 503, Message: token},
		&resultError{errors.New(token)}, Later(time.Second, token),
	} {
		d := (&retryPolicy{backoff: []time.Duration{time.Second}, until: time.Hour}).handled(err, &try{attempt: 1, maxAttempts: 3})
		if strings.Contains(d.cause+d.failure.Message, token) {
			t.Errorf("%T: the cause is %q, the sender is told %q", err, d.cause, d.failure.Message)
		}
	}
}

// Delays of a second and more end at a whole second, because JetStream's schedules do; the last delay repeats.
func TestNextTry(t *testing.T) {
	p := retryPolicy{backoff: []time.Duration{100 * time.Millisecond, time.Second, time.Minute}}
	now := time.Unix(1_700_000_000, 300_000_000)
	for n, want := range map[int][2]time.Duration{ // from, to
		1: {80 * time.Millisecond, 100 * time.Millisecond}, 2: {700 * time.Millisecond, 1700 * time.Millisecond},
		3: {47 * time.Second, 61 * time.Second}, 4: {47 * time.Second, 61 * time.Second}, 1000: {47 * time.Second, 61 * time.Second},
	} {
		for range 100 {
			at := p.next(n, now)
			if d := at.Sub(now); d < want[0] || d > want[1] {
				t.Fatalf("delay %d is %v, want %v to %v", n, d, want[0], want[1])
			}
			if n > 1 && at.Nanosecond() != 0 {
				t.Fatalf("delay %d ends at %v, want a whole second", n, at)
			}
		}
	}
}

// Who waits, and for how long, says the sender; what cannot be is not believed.
func TestWait(t *testing.T) {
	for _, tt := range []struct {
		replyTo, wait string
		want          time.Duration
	}{
		{"_INBOX.a", "1500", 1500 * time.Millisecond},
		{"_INBOX.a", "", contract.DefaultWait},
		{"_INBOX.a", "-1", contract.DefaultWait},
		{"_INBOX.a", "0", contract.DefaultWait},
		{"_INBOX.a", "9223372036854775807", longestWait},
		{"_INBOX.a", "x", contract.DefaultWait},
		{"commands.x", "1500", 0},
		{"", "1500", 0},
	} {
		d := &delivery{Message: Message{headers: nats.Header{contract.HeaderReplyTo: {tt.replyTo}, contract.HeaderWait: {tt.wait}}}}
		if got := d.wait(); got != tt.want {
			t.Errorf("%q, %q: %v, want %v", tt.replyTo, tt.wait, got, tt.want)
		}
	}
}

// What Redis remembers of a decision is enough to carry it out.
func TestDecision(t *testing.T) {
	for _, reason := range contract.Reasons() {
		d := &delivery{disposition: letter(reason, "the cause\nof it"), Message: Message{Attempt: 3}}
		got, attempts := decided(d.decision())
		d.cause = "the cause of it"
		if attempts != 3 || got.cause != d.cause || got.reason != reason || got.errorType != d.errorType || got.settlement != term || got.failure.Code != d.failure.Code {
			t.Errorf("%s: %+v, %d attempts", reason, got, attempts)
		}
	}
}

func TestRejected(t *testing.T) {
	if c := rejected(false, false, time.Second); c.settlement != ack || c.status != contract.StatusRateLimited || c.failure.Code != 429 {
		t.Errorf("over the limit: %+v", c)
	}
	if c := rejected(true, true, time.Second); c.settlement != ack || c.failure.Code != 503 {
		t.Errorf("no Redis, the sender waits: %+v", c)
	}
	if c := rejected(true, false, time.Second); c.settlement != nak || c.delay < time.Second {
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
		earlier attempts.Earlier
		reason  contract.Reason
		cause   string
	}{
		{attempts.Earlier{Failed: 3}, contract.ReasonAttemptsExhausted, "the handler failed 3 times"},
		{attempts.Earlier{Failed: 4, Died: 1}, contract.ReasonAttemptsExhausted, "the worker died 1 times while it handled this message; the handler failed 4 times"},
		{attempts.Earlier{Died: 1}, contract.ReasonWorkerKilled, "the worker died 1 times while it handled this message; the handler failed 0 times"},
		{attempts.Earlier{Failed: 1, Died: 2}, contract.ReasonWorkerKilled, "the worker died 2 times while it handled this message; the handler failed 1 times"},
	} {
		if d := exhausted(tt.earlier); d.reason != tt.reason || d.cause != tt.cause || d.settlement != term {
			t.Errorf("%+v: %s, %q", tt.earlier, d.reason, d.cause)
		}
	}
}
