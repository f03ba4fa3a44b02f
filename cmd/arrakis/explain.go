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
	accountRow(t, e.Account)
	if e.Stored {
		t.words(strings.Fields(view.TierText(e.TierSetting, e.Account, e.Entitlement)), "tier")
	}
	t.words(strings.Fields(e.Summary), "command")
	t.row("mode", settingText(e.Mode))
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
		t.words(sourceWords(l.Limit, count), l.Action, value, used, next)
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
			t.words(sourceWords(*l.OnLimit, func(p tenant.OnLimit) string { return string(p) }), l.Action+" over the limit", text)
		}
	}
	t.words(sourceWords(e.Weight, count), "weight", count(e.Weight.Value))
	for _, f := range e.Features {
		t.words(sourceWords(f.Setting, onOff), f.Name, onOff(f.Value))
	}
	for _, f := range e.Flags {
		t.row(f.ID, onOff(f.On), "flag: "+view.RuleText(f.Rule))
	}
}

// sourceWords say which document decided a setting, and what it overrides, for a cell that may take several lines.
func sourceWords[T any](s tenant.Setting[T], text func(T) string) []string {
	words := []string{string(s.Source)}
	for i, b := range s.Beneath {
		word := text(b.Value) + " (" + string(b.Source) + ")"
		if i == 0 {
			word = "over " + word
		}
		words[i] += ","
		words = append(words, word)
	}
	return words
}

// settingText is a setting with the document that decided it.
func settingText[T ~string](s tenant.Setting[T]) string {
	source := sourceWords(s, func(v T) string { return string(v) })
	return string(s.Value) + " (" + strings.Join(source, " ") + ")"
}
