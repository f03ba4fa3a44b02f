package appcommands

import (
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Plan is how the commands that an application has become those that are wanted.
type Plan struct {
	Added   []Command
	Changed []Change
	Removed []Command
	Same    int // commands that stay as they are
	// Send are all commands that there are afterwards, to replace those that there are.
	Send []Command
}

// Change is a command whose members change.
type Change struct {
	Command Command // as it is wanted
	Members []Member
}

// Member is a member of a command that changes.
type Member struct {
	Path   string         // such as options[0].description
	Before jsontext.Value // nil: there is none
	After  jsontext.Value // nil: there is none
}

// NewPlan compares the commands that an application has, for one guild or for all, with those that are wanted. A command
// is the same if its type and name are. An entry point command stays if none is wanted, because Discord refuses to remove
// it. What Discord decides where a command leaves it out counts as equal.
func NewPlan(present, wanted []Command, guild bool) Plan {
	p := Plan{Send: slices.Clone(wanted)}
	before := map[string]*Command{}
	for i := range present {
		before[present[i].key()] = &present[i]
	}
	kept := map[string]bool{}
	for i := range wanted {
		c := &wanted[i]
		kept[c.key()] = true
		old := before[c.key()]
		if old == nil {
			p.Added = append(p.Added, *c)
		} else if members := changes(old, c, guild); len(members) > 0 {
			p.Changed = append(p.Changed, Change{Command: *c, Members: members})
		} else {
			p.Same++
		}
	}
	hasEntryPoint := slices.ContainsFunc(wanted, func(c Command) bool { return c.Type == EntryPoint })
	for i := range present {
		c := &present[i]
		switch {
		case kept[c.key()]:
		case c.Type == EntryPoint && !hasEntryPoint:
			p.Send = append(p.Send, *c)
			p.Same++
		default:
			p.Removed = append(p.Removed, *c)
		}
	}
	return p
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Added)+len(p.Changed)+len(p.Removed) == 0 }

// key tells commands apart, as Discord does.
func (c *Command) key() string { return strconv.Itoa(int(c.Type)) + " " + c.Name }

// changes are the members in which two commands of one name differ.
func changes(before, after *Command, guild bool) []Member {
	old, wanted := *before, *after
	// Discord derives these where a command does not say them, from the application's settings and from contexts; commands
	// of a guild do not have them.
	if guild || wanted.IntegrationTypes == nil {
		old.IntegrationTypes, wanted.IntegrationTypes = nil, nil
	}
	if guild || wanted.DMPermission == nil {
		old.DMPermission, wanted.DMPermission = nil, nil
	}
	if guild {
		old.Contexts, wanted.Contexts = nil, nil
	}
	var members []Member
	differ("", plain(&old), plain(&wanted), func(m Member) { members = append(members, m) })
	return members
}

// plain is a command as maps, slices and values, without what has the same meaning as its absence.
func plain(c *Command) any {
	same := *c
	same.texts = same.distinct()
	same.Options = distinctOptions(same.Options)
	same.IntegrationTypes, same.Contexts = sorted(same.IntegrationTypes), sorted(same.Contexts)
	text, err := json.Marshal(&same)
	var v any
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		panic("appcommands: a command that was read cannot be written: " + err.Error())
	}
	return v
}

func distinctOptions(options []Option) []Option {
	options = slices.Clone(options)
	for i := range options {
		o := &options[i]
		o.texts = o.distinct()
		o.Options = distinctOptions(o.Options)
		o.ChannelTypes = sorted(o.ChannelTypes)
		o.Choices = slices.Clone(o.Choices)
		for j := range o.Choices {
			o.Choices[j].NameLocalizations = distinct(o.Choices[j].Name, o.Choices[j].NameLocalizations)
		}
	}
	return options
}

func (t texts) distinct() texts {
	t.NameLocalizations = distinct(t.Name, t.NameLocalizations)
	t.DescriptionLocalizations = distinct(t.Description, t.DescriptionLocalizations)
	return t
}

// distinct leaves out translations that are as the text itself, because Discord does.
func distinct(text string, localized map[string]string) map[string]string {
	localized = maps.Clone(localized)
	maps.DeleteFunc(localized, func(_, other string) bool { return other == text })
	return localized
}

func sorted(set []int) []int { return slices.Sorted(slices.Values(set)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// differ calls add for each difference of two values, at its deepest path.
func differ(path string, before, after any, add func(Member)) {
	switch before := before.(type) {
	case map[string]any:
		if after, ok := after.(map[string]any); ok {
			both := maps.Clone(before)
			maps.Copy(both, after)
			for _, name := range sortedKeys(both) {
				inner := name
				if path != "" {
					inner = path + "." + name
				}
				differ(inner, before[name], after[name], add)
			}
			return
		}
	case []any:
		if after, ok := after.([]any); ok {
			for i := range max(len(before), len(after)) {
				differ(path+"["+strconv.Itoa(i)+"]", at(before, i), at(after, i), add)
			}
			return
		}
	}
	if old, wanted := encode(before), encode(after); string(old) != string(wanted) {
		add(Member{Path: path, Before: old, After: wanted})
	}
}

// at is element i, nil behind the end.
func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// encode is a value as JSON; nil, of which there is none in a command, stays nil.
func encode(v any) jsontext.Value {
	if v == nil {
		return nil
	}
	text, _ := json.Marshal(v, json.Deterministic(true)) // it was JSON
	return text
}
