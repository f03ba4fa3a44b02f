package rest

import (
	"time"

	"arrakis/pipeline/discord/api"
)

// LaterError means that a call was not made, or was refused, because of a limit: try again when After has passed.
type LaterError struct {
	After  time.Duration // above 0
	Reason string
}

// Error implements error.
func (e *LaterError) Error() string { return e.Reason + "; try again in " + e.After.String() }

// RefusedError means that Discord will refuse the answer however often it is sent: mostly because of the form of its
// message, or because it is a modal and not the first answer.
type RefusedError struct {
	Reason string
	Err    *api.Error // what Discord says; nil if Discord was not asked
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns what Discord says.
func (e *RefusedError) Unwrap() error {
	if e.Err == nil {
		return nil
	}
	return e.Err
}
