package fakediscord

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The scopes of an answer 429.
const (
	ScopeUser   = "user"   // this interaction
	ScopeShared = "shared" // the channel, for all applications
	ScopeGlobal = "global" // all calls
)

// Cut is when a connection is cut.
type Cut int

// The moments.
const (
	CutBefore Cut = iota + 1 // the call is not carried out
	CutAfter                 // the call is carried out, and the answer is lost
)

// Fault is how a call of the API goes wrong. A Fault with no field but Delay makes it slow.
type Fault struct {
	Status  int    // of the answer; 0: the call is carried out
	Code    int    // Discord's code in the body
	Message string // in the body

	Scope      string        // of a 429; "" with a 429 is a ban by Cloudflare, whose answer is not JSON
	RetryAfter time.Duration // of a 429

	Delay time.Duration // before the call is carried out or answered
	Cut   Cut
}

// RateLimited answers 429 with the scope: ScopeUser, ScopeShared or ScopeGlobal.
func RateLimited(scope string, after time.Duration) Fault {
	return Fault{Status: http.StatusTooManyRequests, Message: "You are being rate limited.", Scope: scope, RetryAfter: after}
}

// Banned answers 429 as Cloudflare does while it bans an address.
func Banned(after time.Duration) Fault {
	return Fault{Status: http.StatusTooManyRequests, RetryAfter: after}
}

// UnknownInteraction answers 404 with code 10062.
func UnknownInteraction() Fault { return faultOf(errUnknownInteraction) }

// UnknownWebhook answers 404 with code 10015.
func UnknownWebhook() Fault { return faultOf(errUnknownWebhook) }

// InvalidToken answers 401 with code 50027, as for a token that has expired.
func InvalidToken() Fault { return faultOf(errInvalidToken) }

// Status answers with the status, and Discord's form of an error.
func Status(status int) Fault {
	return Fault{Status: status, Message: fmt.Sprintf("%d: %s", status, http.StatusText(status))}
}

// Slow carries the call out after the delay.
func Slow(delay time.Duration) Fault { return Fault{Delay: delay} }

func faultOf(e *apiError) Fault { return Fault{Status: e.Status, Code: e.Code, Message: e.Message} }

// Fail makes the next n calls of the API go wrong, after those that are to go wrong already.
func (s *Server) Fail(n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.faults = append(s.faults, f)
	}
}

// Heal forgets the faults that have not been used.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// nextFaultLocked takes the next fault. The zero Fault is none.
func (s *Server) nextFaultLocked() (f Fault) {
	if len(s.faults) > 0 {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	return f
}

// wait waits for the delay. It returns false if the caller has gone.
func (f Fault) wait(ctx context.Context) bool {
	if f.Delay == 0 {
		return true
	}
	t := time.NewTimer(f.Delay)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// write writes the answer.
func (f Fault) write(w http.ResponseWriter) {
	if f.Status != http.StatusTooManyRequests {
		writeError(w, &apiError{Status: f.Status, Code: f.Code, Message: f.Message})
		return
	}
	h := w.Header()
	h.Set("Retry-After", strconv.FormatFloat(math.Ceil(f.RetryAfter.Seconds()), 'f', 0, 64))
	if f.Scope == "" {
		h.Set("Content-Type", "text/html")
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte("<html><body>error code: 1015</body></html>")) // an error means that the client is gone
		return
	}
	h.Set("X-RateLimit-Scope", f.Scope)
	if f.Scope == ScopeGlobal {
		h.Set("X-RateLimit-Global", "true")
	}
	writeJSON(w, f.Status, map[string]any{"message": f.Message, "retry_after": f.RetryAfter.Seconds(), "global": f.Scope == ScopeGlobal})
}
