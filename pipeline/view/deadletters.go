package view

import (
	"fmt"
	"strconv"

	"arrakis/pipeline/deadletter"
	"arrakis/tenant/store"
)

// DeadLetters are a page of the list of dead letters. A dead letter cannot be changed, so it has no ETag.
type DeadLetters struct {
	DeadLetters []deadletter.Entry `json:"deadletters"`
	Next        string             `json:"next,omitempty"`
}

// NewDeadLetters makes the document of a page.
func NewDeadLetters(p deadletter.Page) DeadLetters {
	page := DeadLetters{DeadLetters: p.Entries}
	if p.Next > 0 {
		page.Next = strconv.FormatUint(p.Next, 10)
	}
	return page
}

// ParseNext reads the cursor of a page of dead letters; "" asks for the first page. The error is a
// [*deadletter.QueryError].
func ParseNext(cursor string) (next uint64, err error) {
	if cursor == "" {
		return 0, nil
	}
	if next, err = strconv.ParseUint(cursor, 10, 64); err != nil {
		return 0, &deadletter.QueryError{Field: "cursor", Reason: "is not one that a list has returned; list again from the start"}
	}
	return next, nil
}

// ParseSeq reads the number of a dead letter. The error is a
// [*deadletter.QueryError].
func ParseSeq(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, &deadletter.QueryError{Field: "seq", Reason: fmt.Sprintf("%.64q must be the number of a dead letter, as the list shows it", s)}
	}
	return seq, nil
}

// bulkAudit is what the audit log says of a bulk run: what it is for, and what its first part has done.
type bulkAudit struct {
	Seqs   []uint64           `json:"seqs,omitempty"`
	Filter *deadletter.Filter `json:"filter,omitempty"`
	Done   int                `json:"done"`
	Gone   int                `json:"gone"`
	Failed int                `json:"failed"`
	// Next says that the run may have gone on.
	Next string `json:"next,omitempty"`
}

// BulkAudit is the entry of the audit log for a part of a bulk run. Only the first part has one, if it has done anything
// or is not the last: a run may have a thousand parts, and the log has room for ten thousand changes.
func BulkAudit(run deadletter.Bulk, part deadletter.Part) (e store.AuditEntry, ok bool) {
	if run.Cursor != "" || part.Done == 0 && part.Next == "" {
		return e, false
	}
	if e.Type = store.AuditReplay; run.Action == deadletter.ActionPurge {
		e.Type = store.AuditPurge
	}
	doc := bulkAudit{Seqs: run.Seqs, Done: part.Done, Gone: part.Gone, Failed: len(part.Failed), Next: part.Next}
	switch len(run.Seqs) {
	case 0:
		doc.Filter, e.Target = &run.Filter, run.Filter.Community
	case 1:
		e.Target = strconv.FormatUint(run.Seqs[0], 10)
	}
	e.After = store.NewAuditText(doc)
	return e, true
}
