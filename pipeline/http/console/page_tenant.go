package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

const (
	fewChanges  = 10                     // the last changes that the page of a tenant shows
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
	Fault    string         // why the stored document cannot be used; then Config is nil
	ETag     string         // of the stored document, "" for none
	Document *payload
	Settings []settingRow
	Form     tenantForm
	Boosts   []boostRow
	Flags    []tenantFlag
	Letters  tenantLetters
	Changes  []audited
	Older    string // address of all its changes
	API      string // its path in the API
}

func (c *console) viewTenant(r *http.Request) (content, error) {
	ctx, id, q := r.Context(), r.PathValue("id"), r.URL.Query()
	d := tenantDetail{
		ID: id, Command: q.Get("command"), User: q.Get("user"),
		API: string(joinPath("/v1/tenants", id)), Older: changesAddress(id, "", ""),
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
	d.Form, d.Boosts = c.newTenantForm(&d), boostsOf(d.Config)
	if d.Flags, err = c.flagsOf(ctx, &explained); err != nil {
		return content{}, err
	}
	d.Letters = c.lettersOf(ctx, id)
	targets := slices.Compact([]string{id, explained.Community})
	if d.Changes, _, err = c.readChanges(ctx, store.AuditQuery{Targets: targets, Limit: fewChanges}); err != nil {
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

// tenantExplained is the live part that says how the limits stand, who decided them, and what a command would get.
func (c *console) tenantExplained(ctx context.Context, q url.Values) (any, error) {
	command, user := q.Get("command"), q.Get("user")
	if err := view.CheckCommand(command); err != nil {
		return nil, err
	}
	e, err := c.limits.Explain(ctx, q.Get("id"), user)
	if err != nil {
		return nil, err
	}
	v := &explainedTenant{Explanation: view.NewExplanation(e, command, user)}
	for i := range e.Limits {
		l := &e.Limits[i]
		row := explainedLimit{ExplainedLimit: l, Source: sourceText(l.Limit.Source), Beneath: beneathText(l.Limit, limitText)}
		v.Rows = append(v.Rows, row)
	}
	return v, nil
}

// explainedTenant is what the part shows.
type explainedTenant struct {
	view.Explanation
	Rows []explainedLimit
}

// explainedLimit is a row of the limits.
type explainedLimit struct {
	*shard.ExplainedLimit
	Source  string // which document decided it
	Beneath string // what that overrides, "" for nothing
}

// Tone is the colour of the verdict.
func (e *explainedTenant) Tone() string {
	switch {
	case e.Verdict.Decision == shard.Allowed:
		return "ok"
	case e.Verdict.Shadow, e.Verdict.Decision == shard.Delayed:
		return "warn"
	}
	return "bad"
}

// settingRow is a setting and the document that decided it.
type settingRow struct{ Name, Value, Source, Beneath string }

// settingsOf are the settings that are no limits.
func settingsOf(e *shard.Explanation) []settingRow {
	rows := []settingRow{
		newSetting("Mode", e.Mode, func(m tenant.Mode) string { return string(m) }),
		newSetting("Weight", e.Weight, func(n int64) string { return strconv.FormatInt(n, 10) }),
	}
	for i := range e.Limits {
		l := &e.Limits[i]
		if l.OnLimit == nil {
			continue
		}
		name := strings.ReplaceAll(l.Action, "_", " ") + " over the limit"
		row := newSetting(strings.ToUpper(name[:1])+name[1:], *l.OnLimit, func(o tenant.OnLimit) string { return string(o) })
		if l.OnLimit.Value == tenant.Delay && l.MaxDelayed != nil {
			row.Value += ", up to " + number(l.MaxDelayed.Value)
		}
		rows = append(rows, row)
	}
	for _, f := range e.Features {
		rows = append(rows, newSetting(f.Name, f.Setting, onOff))
	}
	return rows
}

func newSetting[T any](name string, s tenant.Setting[T], text func(T) string) settingRow {
	return settingRow{Name: name, Value: text(s.Value), Source: sourceText(s.Source), Beneath: beneathText(s, text)}
}

// sourceText says which document decided a setting.
func sourceText(s tenant.Source) string {
	switch s {
	case tenant.FromDefault:
		return "default of the tier"
	case tenant.FromTiers:
		return "document of all tiers"
	case tenant.FromTenant:
		return "this config"
	case tenant.FromBoost:
		return "boost"
	}
	return string(s)
}

// beneathText says what a setting overrides.
func beneathText[T any](s tenant.Setting[T], text func(T) string) string {
	var parts []string
	for _, b := range s.Beneath {
		parts = append(parts, text(b.Value)+" ("+sourceText(b.Source)+")")
	}
	return strings.Join(parts, ", ")
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

// boostRow is a boost of the config. It may have ended: Redis's clock says so, and the next write drops it.
type boostRow struct {
	tenant.BoostOverride
	Name  string // of the limit in documents
	Label string
}

func boostsOf(config *tenant.Config) []boostRow {
	var rows []boostRow
	if config == nil {
		return nil
	}
	for action, b := range config.Boosts.Fields() {
		if b.Add > 0 {
			rows = append(rows, boostRow{BoostOverride: *b, Name: limitNames[action].name, Label: limitNames[action].label})
		}
	}
	return rows
}

// limitNames are the names of the limits, in documents and for people, by action.
var limitNames = [tenant.NumActions]struct{ name, label string }{
	tenant.Command:          {"commandsPerMinute", "Commands a minute"},
	tenant.EligibilityCheck: {"eligibilityChecksPerHour", "Checks an hour"},
	tenant.SyncRequest:      {"syncRequestsPerDay", "Syncs a day"},
	tenant.UserCommand:      {"userCommandsPerMinute", "Each user's commands a minute"},
}

// tenantForm has the fields with which a config is changed. A field that is empty leaves the matter to the tier.
type tenantForm struct {
	Limits   []limitField
	Choices  []choiceField
	Features []choiceField
	Tier     tenant.Tier
	Tiers    []tenant.Tier
	Weight   limitField
	Delayed  limitField
}

// limitField is a field for a number.
type limitField struct {
	Name, Label string
	Own         string // what the config says, "" for nothing
	Tier        string // what the tier says
}

// choiceField is a field with a few choices.
type choiceField struct {
	Name, Label string
	Own         string
	Tier        string
	Choices     []choice
	Boolean     bool
	Mixed       bool // the config says more than the field can show; it is left alone
}

type choice struct{ Value, Label string }

func (c *console) newTenantForm(d *tenantDetail) tenantForm {
	config := cmp.Or(d.Config, &tenant.Config{Tier: tenant.Free})
	tier := c.tenants.Tiers().Of(config.Tier)
	f := tenantForm{Tier: config.Tier, Tiers: []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise}}
	limits := &config.RateLimits
	for action, own := range [tenant.NumActions]*int64{
		tenant.Command: limits.CommandsPerMinute, tenant.EligibilityCheck: limits.EligibilityChecksPerHour,
		tenant.SyncRequest: limits.SyncRequestsPerDay, tenant.UserCommand: limits.UserCommandsPerMinute,
	} {
		l := limitNames[action]
		f.Limits = append(f.Limits, limitField{"rateLimits." + l.name, l.label, numberText(own), limitText(tier.Max[action])})
	}
	f.Weight = limitField{"weight", "Weight", numberText(config.Weight), strconv.Itoa(tier.Weight)}
	f.Delayed = limitField{"maxDelayed", "Delayed of each action", numberText(config.MaxDelayed), strconv.FormatInt(cmp.Or(tier.MaxDelayed, 100), 10)}
	f.Choices = []choiceField{modeField(config, &tier), onLimitField(config, &tier)}
	own := &config.Features
	for _, x := range []struct {
		name, label string
		own         *bool
		bit         tenant.Features
	}{
		{"customBranding", "Custom branding", own.CustomBranding, tenant.CustomBranding},
		{"advancedAnalytics", "Advanced analytics", own.AdvancedAnalytics, tenant.AdvancedAnalytics},
		{"prioritySupport", "Priority support", own.PrioritySupport, tenant.PrioritySupport},
		{"unlimitedCommands", "Unlimited commands", own.UnlimitedCommands, tenant.UnlimitedCommands},
	} {
		field := choiceField{
			Name: "features." + x.name, Label: x.label, Boolean: true, Tier: onOff(tier.Features&x.bit != 0),
			Choices: []choice{{"true", "On"}, {"false", "Off"}},
		}
		if x.own != nil {
			field.Own = strconv.FormatBool(*x.own)
		}
		f.Features = append(f.Features, field)
	}
	return f
}

func modeField(config *tenant.Config, tier *tenant.TierDefaults) choiceField {
	f := choiceField{
		Name: "mode", Label: "Mode", Tier: string(tenant.Enforce),
		Choices: []choice{{string(tenant.Enforce), "Enforce"}, {string(tenant.Shadow), "Shadow"}},
	}
	if tier.Shadow {
		f.Tier = string(tenant.Shadow)
	}
	if config.Mode != nil {
		f.Own = string(*config.Mode)
	}
	return f
}

// onLimitField is one field for all actions. A config that says something else for each is left alone.
func onLimitField(config *tenant.Config, tier *tenant.TierDefaults) choiceField {
	f := choiceField{
		Name: "onLimit", Label: "Over the limit", Tier: "as the tier says",
		Choices: []choice{{string(tenant.Reject), "Reject"}, {string(tenant.Delay), "Delay"}},
	}
	if d := tier.Delay; d[tenant.Command] == d[tenant.EligibilityCheck] && d[tenant.Command] == d[tenant.SyncRequest] {
		f.Tier = string(tenant.Reject)
		if d[tenant.Command] {
			f.Tier = string(tenant.Delay)
		}
	}
	o := &config.OnLimit
	switch {
	case o.Command == nil && o.EligibilityCheck == nil && o.SyncRequest == nil:
	case o.Command != nil && o.EligibilityCheck != nil && o.SyncRequest != nil && *o.Command == *o.EligibilityCheck && *o.Command == *o.SyncRequest:
		f.Own = string(*o.Command)
	default:
		f.Mixed = true
	}
	return f
}

func numberText(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
