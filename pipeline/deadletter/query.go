package deadletter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

const (
	// MaxLimit is the largest page of a List.
	MaxLimit = 1000

	defaultLimit = 100
)

// QueryError is a fault of a [Query] or a [Bulk].
type QueryError struct {
	Field  string // such as limit, stream or reason
	Reason string // what is expected
}

func (e *QueryError) Error() string { return e.Field + ": " + e.Reason }

// Filter selects dead letters. The zero value selects all.
type Filter struct {
	// Stream selects the dead letters of one stream. Defaults to all.
	Stream string `json:"stream,omitempty"`
	// Reason selects the dead letters of one reason. Defaults to all.
	Reason contract.Reason `json:"reason,omitempty"`
	// Community selects the dead letters of one community, by the ID that their messages carry. Defaults to all, and to
	// those of no community. JetStream has an index of the other two, but not of this.
	Community string `json:"community,omitempty"`
}

// Validate reports what is wrong with f: a [*QueryError], or nil.
func (f *Filter) Validate() error {
	if known := contract.Streams(); f.Stream != "" && !slices.Contains(known, f.Stream) {
		return &QueryError{"stream", oneOf(known)}
	}
	if reasons := contract.Reasons(); f.Reason != "" && !slices.Contains(reasons, f.Reason) {
		return &QueryError{"reason", oneOf(reasons)}
	}
	if f.Community != "" && !tenant.ValidID(f.Community) {
		return &QueryError{"community", fmt.Sprintf("%.64q must be 1 to 128 letters, digits, '_', ':' or '-'", f.Community)}
	}
	return nil
}

// subject is the subject of the dead letters that f selects, with wildcards. f is valid.
func (f *Filter) subject() string {
	if f.Stream == "" && f.Reason == "" {
		return anyLetter // not the marks of replays
	}
	return contract.DeadLetterSubject(cmp.Or(f.Stream, "*"), cmp.Or(f.Reason, "*"))
}

// selects reports whether a message on the subject of f is a dead letter of its community.
func (f *Filter) selects(m *jetstream.RawStreamMsg) bool {
	if f.Community == "" {
		return true
	}
	_, community := identity(m)
	return community == f.Community
}

// anyLetter is the subject of all dead letters.
const anyLetter = "deadletter.*.*"

// isLetter reports whether a message of DEADLETTER is a dead letter. Else it is the mark of a replay, or a stranger's.
func isLetter(subject string) bool {
	rest, ok := strings.CutPrefix(subject, "deadletter.")
	return ok && strings.Count(rest, ".") == 1
}

func oneOf[S ~string](values []S) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return "must be one of " + strings.Join(names, ", ")
}

// Order is the order of a list.
type Order string

// The orders.
const (
	OldestFirst Order = "oldest"
	NewestFirst Order = "newest"
)

// Query asks for a page. The zero value asks for the first page of all dead letters.
type Query struct {
	Filter
	// Order defaults to OldestFirst.
	Order Order
	// Cursor is the Next of the previous page, in the same order. Defaults to 0: the first page.
	Cursor uint64
	// Limit is the largest number of entries on the page, 1 to MaxLimit. Defaults to 100.
	Limit int
}

// Validate reports what is wrong with q: a [*QueryError], or nil.
func (q *Query) Validate() error {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return &QueryError{"limit", fmt.Sprintf("must be from 1 to %d", MaxLimit)}
	}
	if orders := []Order{OldestFirst, NewestFirst}; q.Order != "" && !slices.Contains(orders, q.Order) {
		return &QueryError{"order", oneOf(orders)}
	}
	return q.Filter.Validate()
}

// Page is a part of the dead letters, in the order of the query.
type Page struct {
	Entries []Entry
	// Next is the Cursor of the next page. It is 0 on the last page. A page may be short, or empty, and have a Next.
	Next uint64
}
