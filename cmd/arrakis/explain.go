package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
)

type explainCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	Command   string `arg:"" help:"Name of the command, as the sender writes it."`
	User      string `placeholder:"ID" help:"User who sends the command: each may have a limit of their own."`
	storeFlags
}

func (*explainCmd) Help() string {
	return "Explain charges nothing. It says what limits decide. A command can be refused for other reasons too: overload, a full lane, its age; see \"arrakis status\" and the metrics."
}

func (c *explainCmd) validate(process) error {
	return errors.Join(tenant.CheckID(c.Community), view.CheckCommand(c.Command), shard.CheckUser(c.User))
}

func (c *explainCmd) Run(ctx context.Context, p process) error {
	return c.withLimits(ctx, p, func(l *shard.Limits) error {
		found, err := l.Explain(ctx, c.Community, c.User)
		if err != nil {
			return err
		}
		e := view.NewExplanation(found, c.Command, c.User)
		return c.print(p.stdout, e, func(t *table) { explainTable(t, &e) })
	})
}

// explainTable prints an explanation for people.
func explainTable(t *table, e *view.Explanation) {
	tier := string(e.Tier)
	if !e.Stored {
		tier += ": no config is stored"
	}
	t.row("community", e.Community+" ("+tier+")")
	if e.Community != e.StoredAs {
		t.row("stored as", e.StoredAs)
	}
	t.wordsRow("command", e.Summary)
	t.row("mode", settingText(e.Mode, string(e.Mode.Value)))
	for _, key := range e.Unusable {
		t.row("unusable", key+": the last usable document is in force")
	}
	t.flush()
	t.row("")
	t.row("LIMIT", "IN FORCE", "USED", "NEXT PERMIT", "DECIDED BY")
	for i := range e.Limits {
		l := &e.Limits[i]
		used, next := "-", "-"
		if l.Use != nil && l.Limit.Value >= 0 {
			used, next = count(l.Use.Used), "now"
			if l.Use.RetryAfterMS > 0 {
				next = short(milliseconds(l.Use.RetryAfterMS))
			}
			if l.Use.Never {
				next = "never"
			}
		}
		value := count(l.Limit.Value)
		if l.Limit.Value >= 0 {
			value += " per " + short(milliseconds(l.WindowMS))
		}
		t.row(l.Action, value, used, next, sourceText(l.Limit, count))
	}
	t.flush()
	t.row("")
	t.row("SETTING", "IN FORCE", "DECIDED BY")
	for i := range e.Limits {
		if l := &e.Limits[i]; l.OnLimit != nil && (l.OnLimit.Value == tenant.Delay || len(l.OnLimit.Beneath) > 0) {
			text := string(l.OnLimit.Value)
			if l.OnLimit.Value == tenant.Delay {
				text += fmt.Sprintf(", up to %d", l.MaxDelayed.Value)
			}
			t.row(l.Action+" over the limit", text, sourceText(*l.OnLimit, func(p tenant.OnLimit) string { return string(p) }))
		}
	}
	t.row("weight", fmt.Sprint(e.Weight.Value), sourceText(e.Weight, func(n int64) string { return fmt.Sprint(n) }))
	for _, f := range e.Features {
		t.row(f.Name, onOff(f.Value), sourceText(f.Setting, onOff))
	}
	for _, f := range e.Flags {
		t.row(f.ID, onOff(f.On), "flag: "+view.RuleText(f.Rule))
	}
}

// sourceText says which document decided a setting, and what it overrides.
func sourceText[T any](s tenant.Setting[T], text func(T) string) string {
	if len(s.Beneath) == 0 {
		return string(s.Source)
	}
	var beneath []string
	for _, b := range s.Beneath {
		beneath = append(beneath, text(b.Value)+" ("+string(b.Source)+")")
	}
	return string(s.Source) + ", over " + strings.Join(beneath, ", ")
}

// settingText is a setting with the document that decided it.
func settingText[T ~string](s tenant.Setting[T], value string) string {
	return value + " (" + sourceText(s, func(v T) string { return string(v) }) + ")"
}
