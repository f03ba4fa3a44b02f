package console

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
)

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
	case tenant.FromAccount:
		return "account"
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
