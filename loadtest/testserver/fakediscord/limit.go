package fakediscord

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Discord's limits, of which only the first is in its answers' headers, and the second is not documented. Both are
// sliding windows here.
const (
	callLimit     = 5
	callWindow    = 2 * time.Second
	channelLimit  = 30
	channelWindow = time.Minute

	maxChannels = 100_000 // channels whose calls are remembered
)

// limits remembers the calls of channels. The Server's mu protects it.
type limits struct {
	channels map[string][]time.Time
}

// limit counts a call with an interaction's token against the limits, and returns the fault if it is above one.
func (s *Server) limit(h http.Header, token string) *Fault {
	if !s.o.Limits {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.byToken[token]
	if i == nil {
		return nil
	}
	return s.limits.count(h, i, time.Now())
}

// count counts a call for an interaction. It sets the headers of the answer.
func (l *limits) count(h http.Header, i *interaction, now time.Time) *Fault {
	i.calls = younger(i.calls, now.Add(-callWindow))
	free := callLimit - len(i.calls)
	h.Set("X-RateLimit-Limit", strconv.Itoa(callLimit))
	h.Set("X-RateLimit-Bucket", "8b1a9953c4611296a827abf8c47804d7")
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, free-1)))
	reset := callWindow
	if len(i.calls) > 0 {
		reset = i.calls[0].Add(callWindow).Sub(now)
	}
	h.Set("X-RateLimit-Reset-After", strconv.FormatFloat(reset.Seconds(), 'f', 3, 64))
	if free <= 0 {
		return limitedUntil(ScopeUser, i.calls[0].Add(callWindow), now)
	}
	if _, known := l.channels[i.channel]; !known && len(l.channels) >= maxChannels {
		l.forget(now)
	}
	calls := younger(l.channels[i.channel], now.Add(-channelWindow))
	if len(calls) >= channelLimit {
		l.channels[i.channel] = calls
		return limitedUntil(ScopeShared, calls[0].Add(channelWindow), now)
	}
	l.channels[i.channel] = append(calls, now)
	i.calls = append(i.calls, now)
	return nil
}

// limitedUntil is the 429 until a call is free again.
func limitedUntil(scope string, free, now time.Time) *Fault {
	f := RateLimited(scope, max(time.Millisecond, free.Sub(now).Round(time.Millisecond)))
	return &f
}

// younger drops the times up to the cut. Times are in order.
func younger(times []time.Time, cut time.Time) []time.Time {
	n, _ := slices.BinarySearchFunc(times, cut, func(t, cut time.Time) int {
		if t.After(cut) {
			return 1
		}
		return -1
	})
	return slices.Delete(times, 0, n)
}

// forget drops the channels without a call in their window, and all if there are none such.
func (l *limits) forget(now time.Time) {
	for channel, calls := range l.channels {
		if now.Sub(calls[len(calls)-1]) >= channelWindow {
			delete(l.channels, channel)
		}
	}
	if len(l.channels) >= maxChannels {
		clear(l.channels)
	}
}
