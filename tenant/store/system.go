package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrAway means that the system of record does not answer, so that nothing can be changed. What is in force stays.
	ErrAway = errors.New("PostgreSQL, which tenants are changed in, is away: nothing can be changed until it is back, and what is in force stays")
	// ErrUncertain means that the system of record was lost before it answered a write, which may be stored or not.
	ErrUncertain = errors.New("the connection to PostgreSQL was lost before it answered: the change is stored or not; read it again, and repeat it if it is not there")
	// ErrRaced means that another writer has changed a document since it was read.
	ErrRaced = errors.New("another writer was faster")
	// ErrElsewhere means that documents are kept elsewhere than where this process would change them. The error that
	// wraps it says what to do.
	ErrElsewhere = errors.New("not changed")
)

// SystemOfRecord is where documents and the audit log are kept in place of Redis, which then gets copies,
// see [Mirror]. It is safe for concurrent use.
type SystemOfRecord interface {
	// Read returns what is stored of a document. Errors: [ErrAway], [ErrElsewhere], and that of ctx.
	Read(ctx context.Context, n Name) (Stored, error)
	// Write makes a change with its entry in the audit log, both or none, and sees to it that Redis gets the document.
	// Errors: those of the decision, [ErrRaced], [ErrAway], [ErrUncertain], [ErrElsewhere], and that of ctx.
	Write(ctx context.Context, c Change) (Version, error)
	// Audit returns a page of the audit log, as [Store.Audit].
	Audit(ctx context.Context, q AuditQuery) (AuditPage, error)
}

// Change is a change of a document.
type Change struct {
	Name   Name
	Decide Decision
	// Entry makes the entry for the audit log from the document before and after, "" for none. Its texts are whole.
	Entry func(before, after string) AuditEntry
}

// Decision makes the next text of a document from what is stored. An empty next text deletes the document. now is the
// time of the system of record. A decision may be called several times, so it must have no other effect.
type Decision func(current Stored, now time.Time) (next string, err error)
