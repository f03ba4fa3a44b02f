package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/http/requestid"
	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type auditCmd struct {
	Community string `arg:"" optional:"" help:"Only changes of this tenant, with its resets and reloads."`

	Since  string  `placeholder:"TIME" help:"Only changes since then: 24h or 7d ago, or from a day (2026-11-01, UTC) or a time (2026-11-01T09:30:00Z) on."`
	Target *string `placeholder:"ID" help:"Only changes of this tenant, account, flag or dead letter."`
	Type   string  `placeholder:"TYPE" help:"Only changes of this kind: tenant, account, flag, tiers, reset, reload, replay or purge."`
	Limit  int     `default:"100" max:"100000" help:"How many changes to list at most."`
	Cursor string  `placeholder:"CURSOR" help:"Cursor that the previous list ended with, for the next page."`
	storeFlags
}

func (*auditCmd) Help() string {
	return `The newest change comes first. PostgreSQL keeps them for AUDIT_RETENTION; Redis alone keeps about 10,000. WHO is the user of a command line (cli:), the token of a client of the admin API (api:) or of the console (console:), or discord, and from where: a host or an address. Long names are cut: --json has all of each change, with the documents from before and after it, and the ID of the request.`
}

func (c *auditCmd) validate(process) error {
	_, err := view.ParseSince(c.Since, time.Now())
	if c.Community != "" {
		err = errors.Join(err, tenant.CheckID(c.Community))
		if c.Target != nil {
			err = errors.Join(err, errors.New("a community and --target are given: keep one"))
		}
	}
	return err
}

func (c *auditCmd) Run(ctx context.Context, p process) error {
	return c.withStore(ctx, func(tenants *store.Store) error {
		page, err := c.read(ctx, tenants)
		if errors.Is(err, store.ErrCursor) || errors.As(err, new(*tenant.FieldError)) && !errors.As(err, new(*store.StoredError)) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		document := view.NewAudit(page)
		return c.print(p.stdout, document, func(t *table) { auditTable(t, document) })
	})
}

// read collects up to c.Limit entries.
func (c *auditCmd) read(ctx context.Context, tenants *store.Store) (store.AuditPage, error) {
	q := store.AuditQuery{Type: store.AuditType(c.Type), Cursor: c.Cursor}
	switch {
	case c.Community != "":
		q.Targets = []string{c.Community}
	case c.Target != nil:
		q.Targets = []string{*c.Target}
	}
	var err error
	if q.Since, err = view.ParseSince(c.Since, time.Now()); err != nil {
		return store.AuditPage{}, err
	}
	var all store.AuditPage
	for {
		q.Limit = min(c.Limit-len(all.Entries), store.MaxListLimit)
		page, err := tenants.Audit(ctx, q)
		if err != nil {
			return store.AuditPage{}, err
		}
		all.Entries, all.Cursor = append(all.Entries, page.Entries...), page.Cursor
		if q.Cursor = page.Cursor; q.Cursor == "" || len(all.Entries) >= c.Limit {
			return all, nil
		}
	}
}

// maxWhat is how much of a kind and a target is shown, so that there is room for who made the change.
const maxWhat = 30

// auditTable has a line for each entry, and those of its changes below it, beside the column of times.
func auditTable(t *table, a view.Audit) {
	if len(a.Entries) == 0 {
		t.row("no changes")
		return
	}
	rows := [][]string{{"WHEN", "WHAT", "WHO"}}
	for i := range a.Entries {
		e := &a.Entries[i]
		rows = append(rows, []string{when(e.At), clip(strings.TrimSpace(string(e.Type)+" "+e.Target), maxWhat), who(e)})
	}
	fit(rows)
	t.row(rows[0]...)
	room := width - len("2006-01-02T15:04:05Z") - 2
	for i := range a.Entries {
		t.row(rows[i+1]...)
		for _, line := range a.Entries[i].Changes() {
			words := strings.Fields(line)
			for j, word := range words {
				words[j] = clip(word, room)
			}
			t.words(words, "")
		}
	}
	if a.Next != "" {
		t.row("there are more: --cursor " + a.Next)
	}
}

// who is who has made a change, and from where.
func who(e *view.AuditEntry) string {
	if e.From == "" {
		return e.Actor
	}
	return e.Actor + " from " + e.From
}

// origin is who runs this command, for the audit log. Each run has an ID, so that its changes can be found together.
func origin() store.Origin {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname() // without a name there is none to tell
	return store.Origin{Actor: "cli:" + name, From: host, RequestID: requestid.New()}
}
