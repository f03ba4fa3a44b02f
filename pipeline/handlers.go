package pipeline

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"arrakis/pipeline/contract"
)

// Handler handles one message. The result is marshalled to JSON, or is a json.RawMessage; [contract.Result] says what
// can be sent. A result that cannot be sent counts as an error with code 502, but its message is not tried again. ctx
// ends when the handler's time is up, and the handler must return then. A handler that does not return occupies a
// worker, and makes a shutdown fail. An error of type [*HandlerError], which [Permanent] makes, carries a code; any
// other error counts as code 500. An error with a code 4xx is an answer. A message whose handler panics becomes a dead
// letter. Any other failed message is tried again, until its handler has failed MaxAttempts times, or for as long as its
// sender waits.
//
// A handler may run more than once for one EventID, also at the same time.
type Handler func(ctx context.Context, m *Message) (result any, err error)

// HandlerError is an error with an HTTP status code.
type HandlerError struct {
	Code    int    // 400 to 599
	Message string // sent to the caller
}

// Error returns the message and the code.
func (e *HandlerError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// Permanent returns a [*HandlerError] after which the message is not tried again. A code outside 400 to 499 becomes
// 400.
func Permanent(code int, format string, args ...any) error {
	if code < 400 || code > 499 {
		code = http.StatusBadRequest
	}
	return &HandlerError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Later returns an error after which the message is tried again when a time has passed, and which counts as no attempt:
// the handler could do nothing yet. A message that is older than RetryUntil, or whose sender does not wait as long, is
// not put off any more: then it counts as a failure. The reason is sent to the caller.
func Later(after time.Duration, reason string) error {
	return &laterError{max(after, time.Millisecond), reason}
}

type laterError struct {
	after  time.Duration
	reason string
}

func (e *laterError) Error() string { return e.reason + "; to be tried again in " + e.after.String() }

// noHandlerError means that no handler answers for a name at present.
type noHandlerError struct{ subject string } // where a micro service would get the request

func (e *noHandlerError) Error() string {
	return "no handler answers at " + e.subject + "; start one there, see README.md, Write a handler"
}

// Handlers are the registered Go functions. Register all of them before the pipeline is made. Lookups are safe for
// concurrent use.
type Handlers struct {
	mu    sync.RWMutex // protects byKey
	byKey map[handlerKey]Handler
}

type handlerKey struct {
	kind contract.Kind
	name string
}

// NewHandlers returns an empty registry: every message goes to the NATS micro services at handlers.>.
func NewHandlers() *Handlers { return &Handlers{byKey: map[handlerKey]Handler{}} }

// Command registers f for a command, [a-z0-9_-]{1,32}. Every method that registers a handler panics if the name is not
// valid or is taken: that is a bug of the caller.
func (h *Handlers) Command(name string, f Handler) { h.add(contract.KindCommand, name, f) }

// Eligibility registers f for eligibility checks of a type, [a-z0-9_-]{1,32}.
func (h *Handlers) Eligibility(checkType string, f Handler) {
	h.add(contract.KindEligibility, checkType, f)
}

// Sync registers f for eligibility syncs of a type, [a-z0-9_-]{1,32}.
func (h *Handlers) Sync(checkType string, f Handler) { h.add(contract.KindSync, checkType, f) }

// Event registers f for events of a type, such as guild.join.
func (h *Handlers) Event(eventType string, f Handler) { h.add(contract.KindEvent, eventType, f) }

// withAnswers returns a copy of h in which f handles the answers in ANSWERS.
func (h *Handlers) withAnswers(f Handler) *Handlers {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := &Handlers{byKey: maps.Clone(h.byKey)}
	all.byKey[handlerKey{contract.KindAnswer, contract.AnswerEventType}] = f
	return all
}

func (h *Handlers) add(k contract.Kind, name string, f Handler) {
	if k != contract.KindEvent && !contract.ValidCommand(name) {
		panic(fmt.Sprintf("pipeline: handler name %q is not [a-z0-9_-]{1,32}", name))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, taken := h.byKey[handlerKey{k, name}]; taken || f == nil {
		panic(fmt.Sprintf("pipeline: handler for %s %q is nil or registered twice", k, name))
	}
	h.byKey[handlerKey{k, name}] = f
}

func (h *Handlers) find(k contract.Kind, name string) (Handler, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f, ok := h.byKey[handlerKey{k, name}]
	return f, ok
}

// each calls f for every registered name.
func (h *Handlers) each(f func(contract.Kind, string)) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for key := range h.byKey {
		f(key.kind, key.name)
	}
}
