package view

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant/store"
)

// Audit is a page of the audit log, the newest entry first.
type Audit struct {
	Entries []AuditEntry `json:"entries"`
	Next    string       `json:"next,omitempty"`
}

// AuditEntry says who has changed what. Before and After are the documents. A document of more than 4 KiB is a string
// instead, with its first 4 KiB, and its size is given.
type AuditEntry struct {
	ID         string          `json:"id"`
	At         time.Time       `json:"at"`
	Type       store.AuditType `json:"type"`
	Target     string          `json:"target,omitempty"`
	Actor      string          `json:"actor"`
	From       string          `json:"from,omitempty"`
	RequestID  string          `json:"request_id,omitempty"`
	Source     string          `json:"source"`
	Before     jsontext.Value  `json:"before,omitzero"`
	BeforeSize int             `json:"before_size,omitzero"`
	After      jsontext.Value  `json:"after,omitzero"`
	AfterSize  int             `json:"after_size,omitzero"`
}

// NewAudit makes the document of a page.
func NewAudit(p store.AuditPage) Audit {
	page := Audit{Entries: make([]AuditEntry, len(p.Entries)), Next: p.Cursor}
	for i := range p.Entries {
		e := &p.Entries[i]
		v := AuditEntry{
			ID: e.ID, At: e.At, Type: e.Type, Target: e.Target, Actor: e.Actor, From: e.From, RequestID: e.RequestID, Source: e.Source,
		}
		v.Before, v.BeforeSize = auditDocument(e.Before)
		v.After, v.AfterSize = auditDocument(e.After)
		page.Entries[i] = v
	}
	return page
}

// auditDocument returns the document as JSON, nil if there is none, and its size if a part is missing. Other writers may
// have put anything into the log.
func auditDocument(t store.AuditText) (document jsontext.Value, size int) {
	if t.Text == "" {
		return nil, 0
	}
	if t.Clipped() {
		size = t.Size
	}
	return jsontext.Value(t.JSON()), size
}
