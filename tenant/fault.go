package tenant

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const maxFaults = 20 // faults that one error names

// FieldError is one fault of a document, from a user or from a store. A function that finds several faults joins them.
type FieldError struct {
	Field  string // dotted path such as "rateLimits.commandsPerMinute"; empty for the whole document
	Reason string // what is wrong and what is expected
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// faults collects the faults of one document, the first for each field.
type faults struct {
	list []*FieldError
	more int // faults beyond maxFaults
}

func (f *faults) add(field, format string, args ...any) {
	if slices.ContainsFunc(f.list, func(e *FieldError) bool { return e.Field == field }) {
		return
	}
	if len(f.list) == maxFaults {
		f.more++
		return
	}
	f.list = append(f.list, &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// err joins the faults. It is nil if the document has none.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	errs := make([]error, 0, len(f.list)+1)
	for _, e := range f.list {
		errs = append(errs, e)
	}
	if f.more > 0 {
		errs = append(errs, fmt.Errorf("and %d more faults", f.more))
	}
	return errors.Join(errs...)
}

// shorten cuts a text from outside to a bounded length, for errors and logs.
func shorten(s string) string {
	const maxLen = 64
	if len(s) <= maxLen {
		return s
	}
	return strings.ToValidUTF8(s[:maxLen], "") + "..."
}
