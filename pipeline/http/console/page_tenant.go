package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

const (
	fewLetters  = 5                      // its newest dead letters
	lettersWait = 300 * time.Millisecond // for how long they are looked for
)

// tenantPage shows one tenant, and changes it.
func (c *console) tenantPage() page {
	return page{path: "/tenants/{id}", name: "tenant", nav: "/tenants", script: "tenant.js", view: c.viewTenant}
}

// tenantDetail is what the page shows. What is live is in the parts explain and queue.
type tenantDetail struct {
	ID       string // under which the config is stored: what messages carry
	Command  string // that is explained, "" for any
	User     string // whose command is explained, "" for a command without a user
	Tenant   *shard.Explanation
	Config   *tenant.Config // nil: none is stored
	Tier     string         // which it is, and who decided that
	Account  string         // in which it is, and what that means for limits; "" for none
	Fault    string         // why the stored document cannot be used; then Config is nil
	ETag     string         // of the stored document, "" for none
	Document *payload
	Settings []settingRow
	Form     tenantForm
	Boosts   []boostRow
	Flags    []tenantFlag
	Letters  tenantLetters
	Changes  lastChanges
	API      string // its path in the API
}

// Together reports whether the limits are counted together with those of other communities.
func (d *tenantDetail) Together() bool {
	return d.Tenant.Account != nil && d.Tenant.Account.Counted == tenant.Together
}

func (c *console) viewTenant(r *http.Request) (content, error) {
	ctx, id, q := r.Context(), r.PathValue("id"), r.URL.Query()
	d := tenantDetail{
		ID: id, Command: q.Get("command"), User: q.Get("user"),
		API: string(joinPath("/v1/tenants", id)),
	}
	if err := view.CheckCommand(d.Command); err != nil {
		return content{}, err
	}
	if err := c.readConfig(ctx, &d); err != nil {
		return content{}, err
	}
	explained, err := c.limits.Explain(ctx, id, d.User)
	if err != nil {
		return content{}, err
	}
	d.Tenant, d.Settings = &explained, settingsOf(&explained)
	if explained.Account != nil {
		d.Account = view.AccountText(explained.Account)
	}
	d.Tier = view.TierText(explained.TierSetting, explained.Account, explained.Entitlement)
	account, err := c.tenants.AccountOf(ctx, cmp.Or(d.Config, new(tenant.Config)))
	if err != nil {
		return content{}, err
	}
	d.Form, d.Boosts = c.newTenantForm(&d, account), boostsOf(d.Config)
	if d.Flags, err = c.flagsOf(ctx, &explained); err != nil {
		return content{}, err
	}
	d.Letters = c.lettersOf(ctx, id)
	targets := slices.Compact([]string{id, explained.Community})
	if explained.Account != nil { // resets of all its communities
		targets = append(targets, tenant.AccountLimitID(explained.Account.ID))
	}
	if d.Changes, err = c.lastChanges(ctx, changesFilter{Target: id}, store.AuditQuery{Targets: targets}); err != nil {
		return content{}, err
	}
	return content{title: id, data: &d}, nil
}

// readConfig reads the stored document, if there is one.
func (c *console) readConfig(ctx context.Context, d *tenantDetail) error {
	config, v, err := c.tenants.Get(ctx, d.ID)
	stored, bad := errors.AsType[*store.StoredError](err)
	switch {
	case bad:
		d.Fault = stored.Error()
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	d.ETag = view.ETag(v)
	if bad {
		return nil
	}
	d.Config = view.Tenant(config)
	text, err := json.Marshal(d.Config)
	if err != nil {
		return err
	}
	p := newPayload(text)
	d.Document = &p
	return nil
}

// tenantLetters are the newest dead letters of a community.
type tenantLetters struct {
	Entries []deadletter.Entry
	Fault   string // why there are none here, or not all
	All     string // address of all of them
}

// lettersOf looks for a moment: JetStream has no index of communities, and the page is for more than dead letters.
func (c *console) lettersOf(ctx context.Context, id string) tenantLetters {
	ctx, cancel := context.WithTimeout(ctx, lettersWait)
	defer cancel()
	letters := tenantLetters{All: "/deadletters?" + url.Values{"community": {id}}.Encode()}
	page, err := c.deadLetters.List(ctx, deadletter.Query{
		Filter: deadletter.Filter{Community: id}, Order: deadletter.NewestFirst, Limit: fewLetters,
	})
	letters.Entries = page.Entries
	switch {
	case errors.Is(err, context.DeadlineExceeded), err == nil && page.Next > 0 && len(page.Entries) < fewLetters:
		letters.Fault = "There are many dead letters, and it takes longer to look for all of one community."
	case err != nil:
		letters.Fault = "NATS does not answer."
	}
	return letters
}

// tenantFlag is a feature flag as one tenant has it.
type tenantFlag struct {
	ID    string
	API   string
	ETag  string
	Fault string // why the stored document cannot be used
	On    bool
	Why   string // the rule that decided
	Rule  string // "include", "exclude", or "" for the rules of the flag
}

func (c *console) flagsOf(ctx context.Context, e *shard.Explanation) ([]tenantFlag, error) {
	entries, err := c.tenants.ListFlags(ctx)
	if err != nil {
		return nil, err
	}
	decided := make(map[string]tenant.FlagDecision)
	for _, f := range e.Flags {
		decided[f.ID] = f
	}
	rows := make([]tenantFlag, len(entries))
	for i := range entries {
		stored := &entries[i]
		f := decided[stored.ID]
		rows[i] = tenantFlag{
			ID: stored.ID, API: string(joinPath("/v1/flags", stored.ID)), ETag: view.ETag(stored.Version), On: f.On, Why: view.RuleText(f.Rule),
		}
		if stored.Err != nil {
			rows[i].Fault = stored.Err.Error()
		} else {
			rows[i].Rule = exception(&stored.Flag, e.Community)
		}
	}
	return rows, nil
}

// exception is the list of the flag that names the community.
func exception(f *tenant.Flag, community string) string {
	switch {
	case slices.Contains(f.Communities.Exclude, community):
		return "exclude"
	case slices.Contains(f.Communities.Include, community):
		return "include"
	}
	return ""
}

// queued is what waits of a community.
type queued struct {
	view.WaitingCommunity
	Known     bool        // what it does in workers
	Listed    bool        // it is among those that do the most
	InLanes   []view.Lane // what waits in lanes
	LaneFault bool        // what waits in lanes is not known
}

// tenantQueue is the live part with what waits.
func (c *console) tenantQueue(ctx context.Context, q url.Values) (any, error) {
	community := q.Get("community")
	if err := tenant.CheckID(community); err != nil {
		return nil, err
	}
	var v queued
	if s := c.latest(ctx); s != nil {
		v.Known = true
		for i := range s.Fleet.Waiting {
			if w := &s.Fleet.Waiting[i]; w.Community == community {
				v.WaitingCommunity, v.Listed = *w, true
			}
		}
	}
	found, err := c.lanes(ctx, community)
	v.InLanes, v.LaneFault = view.NewLanes(found), err != nil
	return v, nil
}
