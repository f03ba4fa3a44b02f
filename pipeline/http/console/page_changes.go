package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// shownChanges is how many changes a page shows.
const shownChanges = 50

// changesPage shows who has changed what. Its first page is live.
func (c *console) changesPage() page {
	return page{path: "/changes", name: "changes", nav: "/changes", view: c.viewChanges}
}

// changes is a page of the audit log.
type changes struct {
	changesFilter
	Types   []store.AuditType
	Sinces  []sinceChoice
	Live    bool // the newest changes of everything: kept live
	Entries []audited
	First   string // address of the first page, "" on it
	Next    string // address of the page of older changes, "" if there are none
}

// changesFilter says which changes are shown, as the address of the page has it. The zero value is all.
type changesFilter struct{ Target, Type, Since string }

// Filtered reports whether some are left out.
func (f changesFilter) Filtered() bool { return f != changesFilter{} }

// sinceChoice is a choice of the time since which changes are shown.
type sinceChoice struct{ Value, Title string } // the Value is as [view.ParseSince] reads it

var sinceChoices = []sinceChoice{{"", "Any time"}, {"24h", "Last 24 hours"}, {"7d", "Last 7 days"}, {"30d", "Last 30 days"}}

// sinces are the choices, among which is the given one, which may come from an address that somebody has written.
func sinces(given string) []sinceChoice {
	if slices.ContainsFunc(sinceChoices, func(c sinceChoice) bool { return c.Value == given }) {
		return sinceChoices
	}
	return append(slices.Clone(sinceChoices), sinceChoice{given, "Since " + given})
}

// audited is a row of the audit log.
type audited struct {
	view.AuditEntry
	Before, After *payload // nil: there is none
}

// Lines say what was changed.
func (a *audited) Lines() []string { return a.Changes() }

// By reports whether the process that made the change is of interest beside who asked for it.
func (a *audited) By() bool { return a.Source != a.Actor && !strings.HasPrefix(a.Actor, a.Source+":") }

// Place is the address of the page of what was changed, "" if it has none.
func (a *audited) Place() string {
	switch a.Type {
	case store.AuditTenant, store.AuditReset, store.AuditReload:
		account, together := strings.CutPrefix(a.Target, tenant.AccountLimitID(""))
		switch {
		case together && tenant.ValidID(account):
			return string(joinPath("/accounts", account))
		case tenant.ValidID(a.Target):
			return string(joinPath("/tenants", a.Target))
		}
	case store.AuditAccount:
		if tenant.ValidID(a.Target) {
			return string(joinPath("/accounts", a.Target))
		}
	case store.AuditReplay, store.AuditPurge:
		if seq, err := strconv.ParseUint(a.Target, 10, 64); err == nil {
			return "/deadletters/" + strconv.FormatUint(seq, 10)
		}
	}
	return ""
}

func (c *console) viewChanges(r *http.Request) (content, error) {
	q := r.URL.Query()
	filter := changesFilter{Target: q.Get("target"), Type: q.Get("type"), Since: q.Get("since")}
	v := changes{changesFilter: filter, Types: store.AuditTypes, Sinces: sinces(filter.Since)}
	cursor := q.Get("cursor")
	v.Live = !filter.Filtered() && cursor == ""
	if v.Live {
		return content{title: "Changes", data: v}, nil
	}
	since, err := view.ParseSince(v.Since, time.Now())
	if err != nil {
		return content{}, err
	}
	asked := store.AuditQuery{Type: store.AuditType(v.Type), Since: since, Cursor: cursor, Limit: shownChanges}
	if v.Target != "" {
		asked.Targets = []string{v.Target}
	}
	entries, next, err := c.readChanges(r.Context(), asked)
	if err != nil {
		return content{}, err
	}
	v.Entries = entries
	if cursor != "" {
		v.First = filter.address("")
	}
	if next != "" {
		v.Next = filter.address(next)
	}
	return content{title: "Changes", data: v}, nil
}

// newestChanges is the live part of the page.
func (c *console) newestChanges(ctx context.Context, _ url.Values) (any, error) {
	entries, next, err := c.readChanges(ctx, store.AuditQuery{Limit: shownChanges})
	v := changes{Entries: entries}
	if next != "" {
		v.Next = changesFilter{}.address(next)
	}
	return v, err
}

func (c *console) readChanges(ctx context.Context, q store.AuditQuery) (rows []audited, next string, err error) {
	page, err := c.tenants.Audit(ctx, q)
	if err != nil {
		return nil, "", err
	}
	entries := view.NewAudit(page).Entries
	for i := range entries {
		e := &entries[i]
		rows = append(rows, audited{AuditEntry: *e, Before: auditPayload(page.Entries[i].Before), After: auditPayload(page.Entries[i].After)})
	}
	return rows, page.Cursor, nil
}

// lastChanges are the last changes of what a page is about.
type lastChanges struct {
	Entries []audited
	Fault   string // why there are none here
	All     string // address of all of them
}

// fewChanges is how many last changes a page shows.
const fewChanges = 10

func (c *console) lastChanges(ctx context.Context, all changesFilter, q store.AuditQuery) (lastChanges, error) {
	last := lastChanges{All: all.address("")}
	q.Limit = fewChanges
	var err error
	last.Entries, _, err = c.readChanges(ctx, q)
	switch {
	case errors.Is(err, store.ErrAway):
		last.Fault, err = "PostgreSQL does not answer: nothing can be changed until it does, and what is in force stays.", nil
	case errors.Is(err, store.ErrElsewhere):
		last.Fault, err = "This worker has no POSTGRES_URL, and changes are kept in PostgreSQL: nothing can be changed through it.", nil
	}
	return last, err
}

func auditPayload(t store.AuditText) *payload {
	if t.Text == "" {
		return nil
	}
	p := newPayload([]byte(t.Text))
	p.Bytes, p.Clipped = t.Size, p.Clipped || t.Clipped()
	return &p
}

// address is the address of a page of the audit log.
func (f changesFilter) address(cursor string) string {
	q := url.Values{}
	for name, value := range map[string]string{"target": f.Target, "type": f.Type, "since": f.Since, "cursor": cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return "/changes"
	}
	return "/changes?" + q.Encode()
}
