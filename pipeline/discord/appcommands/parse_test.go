package appcommands

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// valid has every kind of command and option.
const valid = `[
	{"name": "ping", "description": "Answers pong"},
	{"name": "größe", "description": "x", "name_localizations": {"en-US": "size", "zh-CN": "尺寸"}, "nsfw": true, "default_member_permissions": "32",
		"integration_types": [0, 1], "contexts": [0, 1, 2], "dm_permission": true},
	{"type": 1, "name": "report", "description": "Reports", "options": [
		{"type": 3, "name": "what", "description": "What", "required": true, "min_length": 0, "max_length": 6000, "autocomplete": true},
		{"type": 4, "name": "count", "description": "How many", "min_value": 1, "max_value": 25},
		{"type": 10, "name": "share", "description": "How much", "min_value": -0.5, "choices": [{"name": "half", "value": 0.5}]},
		{"type": 3, "name": "kind", "description": "Which", "choices": [{"name": "A", "value": "a", "name_localizations": {"de": "Ah"}}]},
		{"type": 7, "name": "where", "description": "Where", "channel_types": [0, 5]},
		{"type": 5, "name": "bool", "description": "b"}, {"type": 6, "name": "user", "description": "u"}, {"type": 8, "name": "role", "description": "r"},
		{"type": 9, "name": "any", "description": "m"}, {"type": 11, "name": "file", "description": "f"}]},
	{"name": "permissions", "description": "Permissions", "options": [
		{"type": 2, "name": "user", "description": "Of a user", "options": [{"type": 1, "name": "get", "description": "Get", "options": [{"type": 6, "name": "user", "description": "Who"}]}]},
		{"type": 1, "name": "list", "description": "All"}]},
	{"type": 2, "name": "High Five"},
	{"type": 3, "name": "ping", "description": ""},
	{"type": 4, "name": "launch", "description": "Play", "handler": 2}
]`

func TestParseFile(t *testing.T) {
	t.Parallel()
	commands, err := ParseFile([]byte(valid), false)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range commands {
		names = append(names, commands[i].Type.String()+" "+commands[i].Name)
	}
	want := []string{
		"slash command ping", "slash command größe", "slash command report", "slash command permissions", "user command High Five",
		"message command ping", "entry point command launch",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// What Discord has sent can be a file: what only Discord sets is dropped.
func TestParseFileOfDiscord(t *testing.T) {
	t.Parallel()
	file := `[{"id": "1", "application_id": "2", "guild_id": "3", "version": "4", "default_permission": true, "type": 1, "name": "ping", "name_localized": "p",
		"name_localizations": null, "description": "d", "description_localized": "d", "description_localizations": null, "nsfw": false,
		"default_member_permissions": null, "dm_permission": true, "integration_types": [0], "contexts": null,
		"options": [{"type": 4, "name": "n", "description": "d", "name_localized": "n", "min_value": 1.0, "max_value": null}]}]`
	got, err := ParseFile([]byte(file), false)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := []Command{{
		Type: ChatInput, texts: texts{Name: "ping", Description: "d"}, DMPermission: &yes, IntegrationTypes: []int{0},
		Options: []Option{{Type: Integer, texts: texts{Name: "n", Description: "d"}, MinValue: []byte("1")}},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Command{}, Option{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseFileNamesFaults(t *testing.T) {
	t.Parallel()
	many := func(n int, of string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = strings.ReplaceAll(of, "#", fmt.Sprint(i))
		}
		return strings.Join(all, ",")
	}
	command := func(members string) string { return `[{"name":"ping","description":"d",` + members + `}]` }
	options := func(list string) string { return command(`"options":[` + list + `]`) }
	option := func(typ int, members string) string {
		return options(fmt.Sprintf(`{"type":%d,"name":"o","description":"d",%s}`, typ, members))
	}
	for name, tt := range map[string]struct{ file, want string }{
		"no JSON":               {`[{]`, "this is no JSON: at byte 2"},
		"nothing":               {``, "this is no JSON"},
		"null":                  {`null`, "expected an array of commands; [] removes all"},
		"one command":           {`{"name":"ping"}`, "expected an array of commands, not an object"},
		"a name twice":          {`[{"name":"a","name":"b"}]`, "duplicate"},
		"wrong type":            {`[{"name":7}]`, "[0].name: a number does not belong here"},
		"wrong type deep":       {`[{},{"options":[{"name":"a","choices":"x"}]}]`, "[1].options[0].choices: a string does not belong here"},
		"unknown member":        {options(`{"type":3,"name":"o","description":"d","requird":true}`), "[0].options[0].requird: Discord knows no such member"},
		"no name":               {`[{"description":"d"}]`, "[0].name: is missing"},
		"long name":             {`[{"name":"` + strings.Repeat("ä", 33) + `","description":"d"}]`, "[0].name: has 33 characters, and Discord takes 32"},
		"space in a name":       {`[{"name":"a b","description":"d"}]`, `[0].name: is "a b": expected letters, digits, - and _, without spaces`},
		"capital letter":        {`[{"name":"Größe","description":"d"}]`, `[0].name: is "Größe": expected small letters, such as "größe"`},
		"no description":        {`[{"name":"ping"}]`, "[0].description: is missing"},
		"long description":      {`[{"name":"ping","description":"` + strings.Repeat("ä", 101) + `"}]`, "[0].description: has 101 characters, and Discord takes 100"},
		"unknown language":      {command(`"name_localizations":{"de-DE":"x"}`), "[0].name_localizations.de-DE: is no language of Discord"},
		"bad translation":       {command(`"description_localizations":{"de":""}`), "[0].description_localizations.de: is missing"},
		"bad translated name":   {command(`"name_localizations":{"de":"A"}`), "[0].name_localizations.de: is \"A\""},
		"unknown type":          {command(`"type":5`), "[0].type: is 5"},
		"permissions":           {command(`"default_member_permissions":"ADMIN"`), "[0].default_member_permissions: expected the number"},
		"context":               {command(`"contexts":[0,3]`), "[0].contexts[1]: is 3: expected a number from 0 to 2"},
		"context twice":         {command(`"contexts":[0,0]`), "[0].contexts[1]: 0 is there twice"},
		"integration":           {command(`"integration_types":[2]`), "[0].integration_types[0]: is 2"},
		"handler":               {command(`"handler":1`), "[0].handler: only entry point commands"},
		"described user":        {command(`"type":2`), "[0].description: only slash commands have one"},
		"user with options":     {`[{"type":2,"name":"Wave","options":[{"type":3,"name":"o","description":"d"}]}]`, "[0].options: only slash commands have options"},
		"two of a name":         {`[{"name":"a","description":"d"},{"name":"a","description":"e"}]`, `[1].name: there are two slash commands "a"`},
		"too many":              {"[" + many(101, `{"name":"a#","description":"d"}`) + "]", "there are 101 slash commands, and Discord takes 100"},
		"too many of users":     {"[" + many(16, `{"type":2,"name":"a#"}`) + "]", "there are 16 user commands, and Discord takes 15"},
		"too many options":      {options(many(26, `{"type":3,"name":"a#","description":"d"}`)), "[0].options: there are 26, and Discord takes 25"},
		"too much text":         {options(many(25, `{"type":3,"name":"a#","description":"d","choices":[`+many(4, `{"name":"`+strings.Repeat("n", 99)+`#","value":"v"}`)+`]}`)), "[0]: all names"},
		"option type":           {option(12, `"required":true`), "[0].options[0].type: is 12"},
		"options of one name":   {options(many(2, `{"type":3,"name":"o","description":"d"}`)), `[0].options[1].name: there are two options "o"`},
		"required after":        {options(`{"type":3,"name":"a","description":"d"},{"type":3,"name":"b","description":"d","required":true}`), `[0].options[1].required: required options come before optional ones, such as "a"`},
		"mixed":                 {options(`{"type":1,"name":"a","description":"d"},{"type":3,"name":"b","description":"d"}`), "[0].options[1].type: a command has either subcommands or other options"},
		"empty group":           {option(2, `"options":[]`), "[0].options[0].options: a group has subcommands"},
		"group in a group":      {option(2, `"options":[{"type":2,"name":"b","description":"d"}]`), "[0].options[0].options[0].type: a group stands directly in a command"},
		"subcommand in another": {option(1, `"options":[{"type":1,"name":"b","description":"d"}]`), "[0].options[0].options: a subcommand cannot have subcommands"},
		"required subcommand":   {option(1, `"required":true`), "[0].options[0].required: subcommands"},
		"options of an option":  {option(3, `"options":[{"type":3,"name":"b","description":"d"}]`), "[0].options[0].options: only subcommands"},
		"choices of a bool":     {option(5, `"choices":[{"name":"a","value":1}]`), "[0].options[0].choices: only options of type 3, 4 and 10"},
		"choices and complete":  {option(3, `"autocomplete":true,"choices":[{"name":"a","value":"a"}]`), "[0].options[0].autocomplete: an option that has choices"},
		"completed user":        {option(6, `"autocomplete":true`), "[0].options[0].autocomplete: only options of type 3, 4 and 10"},
		"too many choices":      {option(4, `"choices":[`+many(26, `{"name":"a#","value":#}`)+`]`), "[0].options[0].choices: there are 26"},
		"choices of one name":   {option(4, `"choices":[{"name":"a","value":1},{"name":"a","value":2}]`), `[0].options[0].choices[1].name: there are two choices "a"`},
		"choice is no string":   {option(3, `"choices":[{"name":"a","value":1}]`), "[0].options[0].choices[0].value: expected a string"},
		"choice is no number":   {option(4, `"choices":[{"name":"a","value":"1"}]`), "[0].options[0].choices[0].value: expected a number"},
		"choice is not whole":   {option(4, `"choices":[{"name":"a","value":1.5}]`), "[0].options[0].choices[0].value: expected a whole number"},
		"choice without value":  {option(4, `"choices":[{"name":"a"}]`), "[0].options[0].choices[0].value: expected a number"},
		"choice is large":       {option(10, `"choices":[{"name":"a","value":1e17}]`), "[0].options[0].choices[0].value: expected a number from -2^53 to 2^53"},
		"channels of a string":  {option(3, `"channel_types":[0]`), "[0].options[0].channel_types: only options of type 7"},
		"bound of a string":     {option(3, `"min_value":1`), "[0].options[0].min_value: only options of type 4 and 10"},
		"bounds crossed":        {option(4, `"min_value":2,"max_value":1`), "[0].options[0].max_value: is below min_value"},
		"length of a number":    {option(4, `"max_length":1`), "[0].options[0].max_length: only options of type 3"},
		"bad length":            {option(3, `"max_length":0`), "[0].options[0].max_length: is 0: expected 1 to 6000"},
		"lengths crossed":       {option(3, `"min_length":2,"max_length":1`), "[0].options[0].max_length: is below min_length"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseFile([]byte(tt.file), false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// All faults are named at once.
func TestParseFileNamesAllFaults(t *testing.T) {
	t.Parallel()
	_, err := ParseFile([]byte(`[{"type":4,"name":"a","description":"d"},{"name":"B"},{"type":9}]`), true)
	if err == nil || len(strings.Split(err.Error(), "\n")) != 4 {
		t.Errorf("got %v, want 4 faults", err)
	}
}
