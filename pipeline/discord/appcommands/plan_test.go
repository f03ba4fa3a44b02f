package appcommands

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parse reads commands as Discord sends them.
func parse(t *testing.T, answer string) []Command {
	t.Helper()
	commands, err := ParseAnswer([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

// describe is a plan as text: + added, ~ changed with its members, - removed.
func describe(p *Plan) string {
	var b strings.Builder
	for i := range p.Added {
		b.WriteString("+" + p.Added[i].key() + "\n")
	}
	for _, c := range p.Changed {
		b.WriteString("~" + c.Command.key())
		for _, m := range c.Members {
			b.WriteString("; " + m.Path + ": " + string(m.Before) + " -> " + string(m.After))
		}
		b.WriteString("\n")
	}
	for i := range p.Removed {
		b.WriteString("-" + p.Removed[i].key() + "\n")
	}
	return b.String()
}

func TestNewPlan(t *testing.T) {
	t.Parallel()
	const present = `[
		{"id":"1","application_id":"9","version":"3","type":1,"name":"ping","description":"Answers","name_localizations":null,"description_localizations":{"de":"Antwortet"},
			"default_member_permissions":null,"dm_permission":true,"contexts":null,"integration_types":[0],"nsfw":false,"new_member":{"x":1},
			"options":[{"type":4,"name":"n","description":"N","required":true,"min_value":1,"choices":[{"name":"one","value":1,"name_localizations":null}]}]}]`
	const ping = `"name":"ping","description":"Answers","description_localizations":{"de":"Antwortet","fr":"Answers"}`
	const options = `"options":[{"name":"n","type":4,"description":"N","required":true,"min_value":1.0,"autocomplete":false,"choices":[{"name":"one","value":1e0}]}]`
	for name, tt := range map[string]struct{ wanted, want string }{
		"same":               {`[{` + ping + `,` + options + `}]`, ""},
		"same with defaults": {`[{"type":1,"nsfw":false,"contexts":null,"dm_permission":true,"integration_types":[0],` + ping + `,` + options + `}]`, ""},
		"other type":         {`[{` + ping + `,` + options + `},{"type":2,"name":"ping"}]`, "+2 ping\n"},
		"renamed":            {`[{"name":"pong","description":"Answers"}]`, "+1 pong\n-1 ping\n"},
		"all removed":        {`[]`, "-1 ping\n"},
		"members": {
			`[{` + strings.Replace(ping, "Antwortet", "Sagt pong", 1) + `,` + options + `,"nsfw":true,"contexts":[1,0]}]`,
			"~1 ping; contexts:  -> [0,1]; description_localizations.de: \"Antwortet\" -> \"Sagt pong\"; nsfw:  -> true\n",
		},
		"options": {
			`[{` + ping + `,` + strings.NewReplacer(`"required":true`, `"required":false`, "1e0", "2").Replace(options) + `}]`,
			"~1 ping; options[0].choices[0].value: 1 -> 2; options[0].required: true -> \n",
		},
		"options removed": {
			`[{` + ping + `}]`,
			`~1 ping; options: [{"choices":[{"name":"one","value":1}],"description":"N","min_value":1,"name":"n","required":true,"type":4}] -> ` + "\n",
		},
		"integration types": {`[{` + ping + `,` + options + `,"integration_types":[1,0]}]`, "~1 ping; integration_types[1]:  -> 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wanted, err := ParseFile([]byte(tt.wanted), false)
			if err != nil {
				t.Fatal(err)
			}
			p := NewPlan(parse(t, present), wanted, false)
			if diff := cmp.Diff(tt.want, describe(&p)); diff != "" {
				t.Error(diff)
			}
			if p.Empty() != (tt.want == "") || len(p.Send) != len(wanted) {
				t.Errorf("empty is %t, %d are sent", p.Empty(), len(p.Send))
			}
		})
	}
}

// What a guild's command does not have is no difference, so that one file is for both.
func TestNewPlanOfGuild(t *testing.T) {
	t.Parallel()
	present := parse(t, `[{"type":1,"name":"ping","description":"d","nsfw":false}]`)
	wanted, err := ParseFile([]byte(`[{"name":"ping","description":"d","contexts":[0],"integration_types":[0,1],"dm_permission":false}]`), true)
	if err != nil {
		t.Fatal(err)
	}
	if p := NewPlan(present, wanted, true); !p.Empty() {
		t.Errorf("not empty: %s", describe(&p))
	}
}

// Discord refuses to remove the entry point command, so it stays.
func TestNewPlanKeepsEntryPoint(t *testing.T) {
	t.Parallel()
	present := parse(t, `[{"type":4,"name":"launch","description":"Play","handler":2},{"type":1,"name":"ping","description":"d"}]`)
	p := NewPlan(present, nil, false)
	if got := describe(&p); got != "-1 ping\n" || p.Same != 1 || len(p.Send) != 1 || p.Send[0].Name != "launch" {
		t.Errorf("%s, %d the same, %d are sent", got, p.Same, len(p.Send))
	}
	wanted, err := ParseFile([]byte(`[{"type":4,"name":"play","description":"Play","handler":1}]`), false)
	if err != nil {
		t.Fatal(err)
	}
	p = NewPlan(present, wanted, false)
	if got := describe(&p); got != "+4 play\n-4 launch\n-1 ping\n" || len(p.Send) != 1 {
		t.Errorf("%s, %d are sent", got, len(p.Send))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte(`[{"name":"a","description":"d","options":[{"type":4,"name":"n","description":"d","min_value":1e400,"choices":[{"value":null}]}]}]`))
	f.Fuzz(func(t *testing.T, file []byte) {
		commands, err := ParseFile(file, false)
		if err != nil {
			return
		}
		if p := NewPlan(commands, commands, false); !p.Empty() || p.Same != len(commands) {
			t.Errorf("commands differ from themselves: %s", describe(&p))
		}
	})
}
