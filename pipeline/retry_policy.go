package pipeline

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"arrakis/pipeline/contract"
)

// retryPolicy says when a message that was not handled is tried again, and when it is given up on.
type retryPolicy struct {
	backoff []time.Duration // before the second and each further attempt; the last one repeats
	until   time.Duration   // for which a message is tried that no handler answers
}

// try is what is known of a message when a try to handle it has ended.
type try struct {
	attempt     int // the number of this attempt, from 1
	maxAttempts int
	earlier     int // deliveries before this one, of which each may have been a try that no handler answered

	// By JetStream's clock.
	stored, now time.Time
	wait        time.Duration // after stored, for which the sender waits for the outcome; 0: nobody waits
	expires     bool          // the message has a time to live, at whose end it is reported expired
}

// try is the try that ends at now. commandTTL is the time to live of commands, 0 for none.
func (d *delivery) try(now time.Time, commandTTL time.Duration) try {
	return try{
		attempt: d.Attempt, maxAttempts: int(d.maxAttempts), earlier: int(min(d.before+d.delivered-1, math.MaxInt32)),
		stored: d.origin.stored(), now: now.Add(d.source.clock()),
		wait: d.wait(), expires: d.Kind == contract.KindCommand && commandTTL > 0,
	}
}

// again ends a failed attempt, or a try that no handler answered, if d is not decided yet: the message is tried again
// after the n-th delay. If its sender does not wait that long, it is told now, and the message is not tried behind its
// back.
func (p *retryPolicy) again(d *disposition, t *try, n int) {
	p.putOff(d, t, p.delay(n), p.next(n, t.now))
}

// putOff lets a message be tried again at a time, which is after delay or so; see again.
func (p *retryPolicy) putOff(d *disposition, t *try, delay time.Duration, at time.Time) {
	if t.wait > 0 && at.Sub(t.stored) > t.wait {
		d.settlement = ack
		return
	}
	d.settlement, d.delay = nak, at.Sub(t.now)
	if delay >= time.Second {
		d.at = at.UnixNano()
	}
}

// next is the time at which the n-th delay ends that begins at now. A delay of a second or more ends at a whole second,
// because JetStream's schedules do.
func (p *retryPolicy) next(n int, now time.Time) time.Time {
	d := p.delay(n)
	at := now.Add(d - rand.N(d/5+1)) //nolint:gosec // jitter, so that messages that failed together do not return together
	if d < time.Second {
		return at
	}
	return wholeSecond(at)
}

// delay is the n-th delay, from 1, without jitter.
func (p *retryPolicy) delay(n int) time.Duration {
	return p.backoff[min(max(n, 1), len(p.backoff))-1]
}

// givesUp reports whether a message that no handler answers, this time either, has been tried for long enough. Both
// its tries and its age must say so: a message may have waited for its first try, and not every delivery is a try.
func (p *retryPolicy) givesUp(t *try) bool {
	if t.expires || t.now.Sub(t.stored) < p.until {
		return false
	}
	var tried time.Duration
	for n := 1; n <= t.earlier && tried < p.until; n++ {
		tried += p.delay(n)
	}
	return tried >= p.until
}

// wholeSecond is at, rounded up to a whole second.
func wholeSecond(at time.Time) time.Time {
	if whole := at.Truncate(time.Second); !whole.Equal(at) {
		return whole.Add(time.Second)
	}
	return at
}

// longestWait bounds the header Arrakis-Wait. It is longer than any stream of commands keeps its messages.
const longestWait = 24 * time.Hour

// wait is for how long after the message was stored its sender waits for the outcome. It is 0 if nobody waits.
func (d *delivery) wait() time.Duration {
	if d.replyTo() == "" {
		if d.discord {
			return contract.AnswerWait
		}
		return 0
	}
	ms, err := strconv.ParseInt(d.header(contract.HeaderWait), 10, 64)
	if err != nil || ms <= 0 {
		return contract.DefaultWait
	}
	return time.Duration(min(ms, longestWait.Milliseconds())) * time.Millisecond
}

// tooLargeError means that no handler can be asked, because NATS does not carry the message with a request's headers.
type tooLargeError struct{}

func (tooLargeError) Error() string { return "the message is too large to be sent to a handler" }

// outcome is what the sender is told.
func (e tooLargeError) outcome() *contract.Error {
	return &contract.Error{Code: http.StatusRequestEntityTooLarge, Message: e.Error()}
}
