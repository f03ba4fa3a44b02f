package appcommands

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of Discord, from its documentation of application commands.
const (
	maxName  = 32    // characters of a name
	maxText  = 100   // characters of a description, of a choice's name and of its value
	maxTexts = 8_000 // characters of all texts of a slash command
)

// maxCommands is how many commands of a type there may be for all guilds, and as many for each guild.
var maxCommands = map[Type]int{ChatInput: 100, User: 15, Message: 15, EntryPoint: 1}

// locales are the languages of Discord's clients.
var locales = strings.Fields("bg cs da de el en-GB en-US es-419 es-ES fi fr hi hr hu id it ja ko lt nl no pl pt-BR ro ru sv-SE th tr uk vi zh-CN zh-TW")

// inputName is what names of slash commands and options consist of.
var inputName = regexp.MustCompile(`^[-_'\p{L}\p{N}\p{Devanagari}\p{Thai}]+$`)

// checker collects the faults of commands.
type checker struct{ errs []error }

func (c *checker) fault(path, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
}

// check returns what Discord would refuse of the commands, as far as it can be known here.
func check(commands []Command, guild bool) []error {
	var c checker
	number, seen := map[Type]int{}, map[string]bool{}
	for i := range commands {
		command := &commands[i]
		path := "[" + strconv.Itoa(i) + "]"
		c.command(path, command)
		if guild && command.Type == EntryPoint {
			c.fault(path+".type", "a guild cannot have an entry point command")
		}
		if key := command.key(); seen[key] {
			c.fault(path+".name", "there are two %ss %q", command.Type, command.Name)
		} else {
			seen[key] = true
		}
		number[command.Type]++
	}
	for _, t := range []Type{ChatInput, User, Message, EntryPoint} {
		if number[t] > maxCommands[t] {
			c.errs = append(c.errs, fmt.Errorf("there are %d %ss, and Discord takes %d", number[t], t, maxCommands[t]))
		}
	}
	return c.errs
}

func (c *checker) command(path string, command *Command) {
	switch command.Type {
	case ChatInput:
		c.texts(path, &command.texts)
		if n := command.length(); n > maxTexts {
			c.fault(path, "all names, descriptions and values together have %d characters, and Discord takes %d", n, maxTexts)
		}
	case User, Message:
		if command.Description != "" || len(command.DescriptionLocalizations) > 0 {
			c.fault(path+".description", "only slash commands have one: leave it out")
		}
		fallthrough
	case EntryPoint:
		c.text(path+".name", command.Name, maxName)
		c.localized(path+".name_localizations", command.NameLocalizations, func(path, name string) { c.text(path, name, maxName) })
		if len(command.Options) > 0 {
			c.fault(path+".options", "only slash commands have options")
		}
	default:
		c.fault(path+".type", "is %d: expected 1 (slash command), 2 (user), 3 (message) or 4 (entry point)", int(command.Type))
	}
	c.options(path+".options", command.Options, 0)
	if p := command.DefaultPermissions; p != nil && !digits.MatchString(*p) {
		c.fault(path+".default_member_permissions", "expected the number of a set of permissions as a string, such as \"32\"")
	}
	c.numbers(path+".integration_types", command.IntegrationTypes, 1)
	c.numbers(path+".contexts", command.Contexts, 2)
	if command.Type != EntryPoint && command.Handler != 0 {
		c.fault(path+".handler", "only entry point commands have one")
	}
}

// numbers checks a set of the numbers from 0 to most.
func (c *checker) numbers(path string, set []int, most int) {
	for i, n := range set {
		switch {
		case n < 0 || n > most:
			c.fault(fmt.Sprintf("%s[%d]", path, i), "is %d: expected a number from 0 to %d", n, most)
		case slices.Contains(set[:i], n):
			c.fault(fmt.Sprintf("%s[%d]", path, i), "%d is there twice", n)
		}
	}
}

// texts checks the names and descriptions of a slash command or an option.
func (c *checker) texts(path string, t *texts) {
	c.inputName(path+".name", t.Name)
	c.localized(path+".name_localizations", t.NameLocalizations, c.inputName)
	c.text(path+".description", t.Description, maxText)
	c.localized(path+".description_localizations", t.DescriptionLocalizations, func(path, text string) { c.text(path, text, maxText) })
}

func (c *checker) inputName(path, name string) {
	n := utf8.RuneCountInString(name)
	switch {
	case name == "":
		c.fault(path, "is missing")
	case n > maxName:
		c.fault(path, "has %d characters, and Discord takes %d", n, maxName)
	case !inputName.MatchString(name):
		c.fault(path, "is %q: expected letters, digits, - and _, without spaces", name)
	case strings.ToLower(name) != name:
		c.fault(path, "is %q: expected small letters, such as %q", name, strings.ToLower(name))
	}
}

func (c *checker) text(path, text string, most int) {
	switch n := utf8.RuneCountInString(text); {
	case strings.TrimSpace(text) == "":
		c.fault(path, "is missing")
	case n > most:
		c.fault(path, "has %d characters, and Discord takes %d", n, most)
	}
}

func (c *checker) localized(path string, all map[string]string, check func(path, text string)) {
	for _, locale := range sortedKeys(all) {
		if !slices.Contains(locales, locale) {
			c.fault(path+"."+locale, "is no language of Discord: expected one of %s", strings.Join(locales, ", "))
			continue
		}
		check(path+"."+locale, all[locale])
	}
}

// length is how many characters count towards Discord's limit for all texts of a command. Of a text in several languages
// the longest counts.
func (c *Command) length() int { return c.texts.length() + optionsLength(c.Options) }

func optionsLength(options []Option) int {
	n := 0
	for i := range options {
		o := &options[i]
		n += o.length() + optionsLength(o.Options)
		for j := range o.Choices {
			n += longest(o.Choices[j].Name, o.Choices[j].NameLocalizations) + utf8.RuneCountInString(o.Choices[j].text())
		}
	}
	return n
}

func (t *texts) length() int {
	return longest(t.Name, t.NameLocalizations) + longest(t.Description, t.DescriptionLocalizations)
}

func longest(text string, localized map[string]string) int {
	n := utf8.RuneCountInString(text)
	for _, other := range localized {
		n = max(n, utf8.RuneCountInString(other))
	}
	return n
}
