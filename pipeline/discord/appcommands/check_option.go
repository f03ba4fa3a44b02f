package appcommands

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The limits of Discord for options.
const (
	maxOptions = 25
	maxChoices = 25
	maxInput   = 6_000   // characters that a user can type
	maxNumber  = 1 << 53 // of either sign
)

// options checks the options of a command (depth 0), of a group or a subcommand in it (1), or of a subcommand of a group (2).
func (c *checker) options(path string, options []Option, depth int) {
	if len(options) > maxOptions {
		c.fault(path, "there are %d, and Discord takes %d", len(options), maxOptions)
	}
	names, optional := map[string]bool{}, ""
	for i := range options {
		o := &options[i]
		at := fmt.Sprintf("%s[%d]", path, i)
		c.option(at, o, depth)
		if names[o.Name] {
			c.fault(at+".name", "there are two options %q", o.Name)
		}
		names[o.Name] = true
		if o.isCommand() != options[0].isCommand() {
			c.fault(at+".type", "a command has either subcommands or other options, not both")
		}
		if o.Required && optional != "" {
			c.fault(at+".required", "required options come before optional ones, such as %q", optional)
		}
		if !o.Required {
			optional = o.Name
		}
	}
}

// isCommand reports whether the option is a subcommand or a group of them.
func (o *Option) isCommand() bool { return o.Type == Subcommand || o.Type == Group }

func (c *checker) option(path string, o *Option, depth int) {
	c.texts(path, &o.texts)
	switch {
	case o.Type < Subcommand || o.Type > Attachment:
		c.fault(path+".type", "is %d: expected a number from 1 to 11", int(o.Type))
	case o.Type == Group && depth > 0:
		c.fault(path+".type", "a group stands directly in a command")
	case o.Type == Group && !allSubcommands(o.Options):
		c.fault(path+".options", "a group has subcommands (type 1), at least one, and nothing else")
	case o.Type == Subcommand && slices.ContainsFunc(o.Options, func(o Option) bool { return o.isCommand() }):
		c.fault(path+".options", "a subcommand cannot have subcommands: make it a group (type 2)")
	}
	if o.isCommand() {
		c.options(path+".options", o.Options, depth+1)
	} else if len(o.Options) > 0 {
		c.fault(path+".options", "only subcommands and groups have options")
	}
	input := o.Type == String || o.Type == Integer || o.Type == Number
	c.only(path+".required", o.Required, !o.isCommand(), "subcommands are not required")
	c.only(path+".choices", len(o.Choices) > 0, input, "only options of type 3, 4 and 10 have choices")
	c.only(path+".autocomplete", o.Autocomplete, input, "only options of type 3, 4 and 10 are completed")
	c.only(path+".autocomplete", o.Autocomplete, len(o.Choices) == 0, "an option that has choices is not completed")
	c.only(path+".channel_types", len(o.ChannelTypes) > 0, o.Type == Channel, "only options of type 7 have channels")
	c.choices(path+".choices", o)
	c.bounds(path, o)
}

func allSubcommands(options []Option) bool {
	return len(options) > 0 && !slices.ContainsFunc(options, func(o Option) bool { return o.Type != Subcommand })
}

// only is a fault if the member is set and may not be.
func (c *checker) only(path string, set, may bool, why string) {
	if set && !may {
		c.fault(path, "%s", why)
	}
}

func (c *checker) choices(path string, o *Option) {
	if len(o.Choices) > maxChoices {
		c.fault(path, "there are %d, and Discord takes %d", len(o.Choices), maxChoices)
	}
	names := map[string]bool{}
	for i := range o.Choices {
		choice := &o.Choices[i]
		at := fmt.Sprintf("%s[%d]", path, i)
		c.text(at+".name", choice.Name, maxText)
		c.localized(at+".name_localizations", choice.NameLocalizations, func(path, name string) { c.text(path, name, maxText) })
		if names[choice.Name] {
			c.fault(at+".name", "there are two choices %q", choice.Name)
		}
		names[choice.Name] = true
		if o.Type != String {
			c.value(at+".value", o.Type, choice.Value)
			continue
		}
		if choice.Value.Kind() != '"' {
			c.fault(at+".value", "expected a string, because the option is one (type 3)")
			continue
		}
		c.text(at+".value", choice.text(), maxText)
	}
}

// text is the value as text.
func (c *Choice) text() string {
	text := string(c.Value)
	_ = json.Unmarshal(c.Value, &text) // a number is its own text
	return text
}

// value checks a number for an option, and returns it.
func (c *checker) value(path string, t OptionType, v jsontext.Value) (n float64, ok bool) {
	n, err := strconv.ParseFloat(string(v), 64)
	switch {
	case err != nil:
		c.fault(path, "expected a number")
	case t == Integer && n != float64(int64(n)):
		c.fault(path, "expected a whole number, because the option is one (type 4)")
	case n < -maxNumber || n > maxNumber:
		c.fault(path, "expected a number from -2^53 to 2^53")
	default:
		return n, true
	}
	return 0, false
}

// bounds checks the bounds of what a user may type.
func (c *checker) bounds(path string, o *Option) {
	const onlyNumbers, onlyTexts = "only options of type 4 and 10 have it", "only options of type 3 have it"
	numeric := o.Type == Integer || o.Type == Number
	c.only(path+".min_value", o.MinValue != nil, numeric, onlyNumbers)
	c.only(path+".max_value", o.MaxValue != nil, numeric, onlyNumbers)
	c.only(path+".min_length", o.MinLength != nil, o.Type == String, onlyTexts)
	c.only(path+".max_length", o.MaxLength != nil, o.Type == String, onlyTexts)
	if numeric {
		low, hasLow := 0.0, false
		if o.MinValue != nil {
			low, hasLow = c.value(path+".min_value", o.Type, o.MinValue)
		}
		if o.MaxValue != nil {
			if high, ok := c.value(path+".max_value", o.Type, o.MaxValue); ok && hasLow && high < low {
				c.fault(path+".max_value", "is below min_value")
			}
		}
	}
	if o.MinLength != nil && (*o.MinLength < 0 || *o.MinLength > maxInput) {
		c.fault(path+".min_length", "is %d: expected 0 to %d", *o.MinLength, maxInput)
	}
	if o.MaxLength != nil && (*o.MaxLength < 1 || *o.MaxLength > maxInput) {
		c.fault(path+".max_length", "is %d: expected 1 to %d", *o.MaxLength, maxInput)
	}
	if o.MinLength != nil && o.MaxLength != nil && *o.MaxLength < *o.MinLength {
		c.fault(path+".max_length", "is below min_length")
	}
}
