package main

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/discord/appcommands"
)

// planView is a plan as --json prints it.
type planView struct {
	Added   []commandView `json:"added"`
	Changed []commandView `json:"changed"`
	Removed []commandView `json:"removed"`
	Same    int           `json:"same"`
	Applied bool          `json:"applied"`
}

type commandView struct {
	Name    string           `json:"name"`
	Type    appcommands.Type `json:"type"`
	Members []memberView     `json:"members,omitempty"` // of a changed one
}

type memberView struct {
	Path   string         `json:"path"`
	Before jsontext.Value `json:"before,omitzero"`
	After  jsontext.Value `json:"after,omitzero"`
}

func newPlanView(p *appcommands.Plan, applied bool) planView {
	v := planView{Added: commandViews(p.Added), Changed: []commandView{}, Removed: commandViews(p.Removed), Same: p.Same, Applied: applied}
	for i := range p.Changed {
		c := &p.Changed[i]
		changed := commandView{Name: c.Command.Name, Type: c.Command.Type}
		for _, m := range c.Members {
			changed.Members = append(changed.Members, memberView(m))
		}
		v.Changed = append(v.Changed, changed)
	}
	return v
}

func commandViews(commands []appcommands.Command) []commandView {
	views := []commandView{}
	for i := range commands {
		views = append(views, commandView{Name: commands[i].Name, Type: commands[i].Type})
	}
	return views
}

// planTable shows what would change: + added, ~ changed, - removed.
func planTable(t *table, p *appcommands.Plan, guild string) {
	where := "for all guilds"
	if guild != "" {
		where = "for guild " + guild
	}
	t.row(fmt.Sprintf("commands %s: %d to add, %d to change, %d to remove, %d stay", where, len(p.Added), len(p.Changed), len(p.Removed), p.Same))
	t.flush()
	for i := range p.Added {
		t.row("+ "+shownCommand(&p.Added[i]), "added")
	}
	for i := range p.Changed {
		name := "~ " + shownCommand(&p.Changed[i].Command)
		for _, m := range p.Changed[i].Members {
			t.row(name, m.Path+": "+shownValue(m.Before)+" → "+shownValue(m.After))
			name = ""
		}
	}
	for i := range p.Removed {
		t.row("- "+shownCommand(&p.Removed[i]), "REMOVED: nobody can use it any more")
	}
	t.flush()
}

// shownCommand is a command's name, as users know it.
func shownCommand(c *appcommands.Command) string {
	if c.Type == appcommands.ChatInput {
		return "/" + c.Name
	}
	return c.Name + " (" + c.Type.String() + ")"
}

// shownValue is a value in a change. A long one is cut.
func shownValue(v jsontext.Value) string {
	if v == nil {
		return "nothing"
	}
	return clip(string(v), 60)
}

// conclusionOf is the last line for people.
func conclusionOf(p *appcommands.Plan, done bool) string {
	switch {
	case p.Empty():
		return "nothing to do: Discord has these commands"
	case done:
		return "done: clients of Discord show the change within a minute, or when they are started again"
	default:
		return "nothing is changed yet"
	}
}

// plural is a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
