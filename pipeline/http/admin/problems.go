package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// problemError is an error that has its problem already.
type problemError struct{ *problem.Problem }

func (e *problemError) Error() string { return e.Detail }

// retryAfter is the time after which a request that failed in Redis or NATS may be repeated.
const retryAfter = 2 * time.Second

// problemOf is the answer for a request that ended with err. Only problemOf turns errors into status codes.
func (a *api) problemOf(r *http.Request, err error) *problem.Problem {
	var (
		made    *problemError
		stored  *store.StoredError
		asked   *deadletter.QueryError
		refused *deadletter.RefusedError
	)
	switch {
	case errors.As(err, &made):
		return made.Problem
	case errors.As(err, &stored): // before *tenant.FieldError: its faults are Redis's, not the client's
		return problem.New(http.StatusInternalServerError, "unusable-document", "%s.", sentence(stored.Error()))
	case errors.Is(err, store.ErrNotFound), errors.Is(err, deadletter.ErrNotFound):
		return problem.New(http.StatusNotFound, "not-found", "%s.", sentence(err.Error()))
	case errors.Is(err, store.ErrAccountUsed):
		return problem.New(http.StatusConflict, "account-used", "%s. With ?force=true it is deleted all the same.", sentence(err.Error()))
	case errors.Is(err, store.ErrConflict):
		return conflict(r)
	case errors.Is(err, store.ErrAway), errors.Is(err, store.ErrUncertain):
		a.log.WarnContext(r.Context(), "an admin request failed", "method", r.Method, "path", r.URL.Path,
			"request_id", store.OriginOf(r.Context()).RequestID, "err", err)
		return problem.New(http.StatusServiceUnavailable, recordAway(err), "%s.", sentence(told(err).Error())).RetryAfter(retryAfter)
	case errors.Is(err, store.ErrElsewhere):
		return problem.New(http.StatusServiceUnavailable, "kept-elsewhere", "%s.", sentence(err.Error()))
	case errors.Is(err, store.ErrCursor):
		return malformed([]error{fault("cursor", "is not one that a list has returned; list again from the start")})
	case errors.As(err, &asked):
		return malformed([]error{fault(asked.Field, "%s", asked.Reason)})
	case errors.Is(err, live.ErrFull):
		return problem.New(http.StatusServiceUnavailable, "too-many-subscribers",
			"%d pages and programs watch this process already. Close one, or ask another process.", live.MaxSubscribers).RetryAfter(retryAfter)
	case errors.As(err, &refused):
		return problem.New(http.StatusConflict, "not-replayable", "%s.", sentence(refused.Error()))
	case errors.Is(err, deadletter.ErrUncertain):
		return problem.New(http.StatusConflict, "not-replayable", "%s.", sentence(err.Error()))
	}
	if faults := faultsOf(err); len(faults) > 0 {
		return malformed(faults)
	}
	if !errors.Is(r.Context().Err(), context.Canceled) { // if it is canceled, the client is gone
		a.log.WarnContext(r.Context(), "an admin request failed", "method", r.Method, "path", r.URL.Path,
			"request_id", store.OriginOf(r.Context()).RequestID, "err", err)
	}
	return problem.New(http.StatusServiceUnavailable, "unavailable",
		"Redis or NATS did not carry this out; the log says why. Look at /readyz, and repeat the request.").RetryAfter(retryAfter)
}

// conflict is the answer for a write whose conditions do not hold, or which gave up because other writers kept changing
// the document.
func conflict(r *http.Request) *problem.Problem {
	if r.Header.Get("If-Match") == "" && r.Header.Get("If-None-Match") == "" {
		return problem.New(http.StatusConflict, "conflict", "Other writers kept changing the document at the same time. Repeat the request.")
	}
	return problem.New(http.StatusPreconditionFailed, "precondition-failed",
		"The stored document does not meet If-Match or If-None-Match; it may have been changed meanwhile. Read it again, and repeat the change with its ETag.")
}

// faultsOf returns the faults that err holds, if any. Each is a *tenant.FieldError, except that the last may only say
// how many more there are.
func faultsOf(err error) []error {
	var one *tenant.FieldError
	if !errors.As(err, &one) {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{one}
}

// malformed is a 400 that names every fault. Its field is the field of the first fault.
func malformed(faults []error) *problem.Problem {
	texts := make([]string, len(faults))
	p := problem.New(http.StatusBadRequest, "malformed", "")
	for i, err := range faults {
		texts[i] = err.Error()
		var f *tenant.FieldError
		if !errors.As(err, &f) {
			continue
		}
		field := cmp.Or(f.Field, "body")
		texts[i] = field + ": " + f.Reason
		p.Errors = append(p.Errors, problem.Fault{Field: field, Detail: f.Reason})
	}
	if len(p.Errors) > 0 {
		p.Field = p.Errors[0].Field
	}
	p.Detail = strings.Join(texts, "; ")
	return p
}

// sentence is an error's text on one line, beginning with a capital.
func sentence(s string) string {
	s = strings.ReplaceAll(s, "\n", "; ")
	return strings.ToUpper(s[:1]) + s[1:]
}

// recordAway is the type of the problem that the system of record is away.
func recordAway(err error) string {
	if errors.Is(err, store.ErrUncertain) {
		return "uncertain"
	}
	return "postgres-away"
}

// told is what a client is told of an error of the system of record: not which host or user failed, which the log says.
func told(err error) error {
	if errors.Is(err, store.ErrUncertain) {
		return store.ErrUncertain
	}
	return store.ErrAway
}
