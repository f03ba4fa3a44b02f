package discord

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// units is the length of a text as Discord counts it.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

func TestFormat(t *testing.T) {
	const nobody = `"allowed_mentions":{"parse":[]}`
	for _, tt := range []struct {
		name   string
		typ    Type
		result string
		want   string // the whole response
	}{
		{"a string", Command, `"pong"`, `{"type":4,"data":{` + nobody + `,"content":"pong"}}`},
		{"a string for a modal", Modal, `"pong"`, `{"type":4,"data":{` + nobody + `,"content":"pong"}}`},
		{"a string for a component", Component, `"pong"`, `{"type":7,"data":{` + nobody + `,"content":"pong"}}`},
		{"an empty string", Command, `""`, `{"type":4,"data":{` + nobody + `,"content":"✓"}}`},
		{"null", Command, `null`, `{"type":4,"data":{` + nobody + `,"content":"✓"}}`},
		{"nothing", Command, ``, `{"type":4,"data":{` + nobody + `,"content":"✓"}}`},
		{"null for a component", Component, `null`, `{"type":7,"data":{` + nobody + `}}`},
		{"a number", Command, ` 1.50 `, `{"type":4,"data":{` + nobody + `,"content":"1.50"}}`},
		{"true", Command, `true`, `{"type":4,"data":{` + nobody + `,"content":"true"}}`},
		{"markup", Command, `"<@1> & <t:1:R>"`, `{"type":4,"data":{` + nobody + `,"content":"<@1> & <t:1:R>"}}`},

		{"a message", Command, `{"content":"hi","flags":64,"unknown":1}`, `{"type":4,"data":{` + nobody + `,"content":"hi","flags":64,"unknown":1}}`},
		{"a message with mentions", Command, `{"content":"hi","allowed_mentions":{"parse":["users"]}}`, `{"type":4,"data":{"allowed_mentions":{"parse":["users"]},"content":"hi"}}`},
		{"a message that shows nothing", Command, `{"content":"","embeds":[],"flags":64}`, `{"type":4,"data":{` + nobody + `,"content":"✓","embeds":[],"flags":64}}`},
		{"an update that takes buttons away", Component, `{"components":[]}`, `{"type":7,"data":{` + nobody + `,"components":[]}}`},
		{"a member of the wrong kind", Command, `{"flags":{"beta":true}}`, "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n{\\n  \\\"flags\\\": {\\n    \\\"beta\\\": true\\n  }\\n}\\n```\"}}"},

		{"an embed", Command, `{"title":"A","color":1}`, `{"type":4,"data":{` + nobody + `,"embeds":[{"title":"A","color":1}]}}`},
		{"embeds", Command, `[{"title":"A"},{"fields":[{}]}]`, `{"type":4,"data":{` + nobody + `,"embeds":[{"title":"A"},{"fields":[{}]}]}}`},
		{"no embed", Command, `{"title":"A","count":1}`, "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n{\\n  \\\"title\\\": \\\"A\\\",\\n  \\\"count\\\": 1\\n}\\n```\"}}"},
		{"an object that is empty", Command, `{}`, "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n{}\\n```\"}}"},
		{"an array that is empty", Command, `[]`, "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n[]\\n```\"}}"},
		{"JSON with a fence", Command, "[\"```\"]", "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n[\\n  \\\"``\u200b`\\\"\\n]\\n```\"}}"},

		{"a whole message", Component, `{"type":4,"data":{"content":"new"}}`, `{"type":4,"data":{` + nobody + `,"content":"new"}}`},
		{"a whole update", Component, `{"type":7,"data":{"content":"new"}}`, `{"type":7,"data":{` + nobody + `,"content":"new"}}`},
		{"a whole update for a modal", Modal, `{"type":7,"data":{"content":"new"}}`, `{"type":7,"data":{` + nobody + `,"content":"new"}}`},
		{"a whole update for a command", Command, `{"type":7,"data":{"content":"new"}}`, `{"type":4,"data":{` + nobody + `,"content":"new"}}`},
		{"a modal", Command, `{"type":9,"data":{"custom_id":"m","title":"T","components":[]}}`, `{"type":9,"data":{"custom_id":"m","title":"T","components":[]}}`},
		{"a modal for a modal", Modal, `{"type":9,"data":{}}`, "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n{\\n  \\\"type\\\": 9,\\n  \\\"data\\\": {}\\n}\\n```\"}}"},
		{"another type", Command, `{"type":5,"data":{}}`, "{\"type\":4,\"data\":{" + nobody + ",\"content\":\"```json\\n{\\n  \\\"type\\\": 5,\\n  \\\"data\\\": {}\\n}\\n```\"}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Format(tt.typ, json.RawMessage(tt.result))
			if diff := cmp.Diff(tt.want, string(r.Inline())); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestFormatCuts(t *testing.T) {
	content := func(result string) string {
		t.Helper()
		var m struct{ Content string }
		r := Format(Command, json.RawMessage(result))
		if err := json.Unmarshal(r.Data, &m); err != nil {
			t.Fatal(err)
		}
		return m.Content
	}
	ants := func(n int) string { return strings.Repeat("🐜", n) } // of two units each
	for _, tt := range []struct{ name, text, want string }{
		{"as long as may be", ants(1000), ants(1000)},
		{"one unit too long", ants(1000) + "x", ants(999) + "…"},
		{"a letter and a pair that does not fit", "x" + ants(1000), "x" + ants(999) + "…"},
		{"letters", strings.Repeat("é", 2001), strings.Repeat("é", 1999) + "…"},
	} {
		if got := content(`"` + tt.text + `"`); got != tt.want {
			t.Errorf("%s: %d units that end in %q", tt.name, units(got), got[len(got)-8:])
		}
		if got := content(`{"content":"` + tt.text + `"}`); got != tt.want {
			t.Errorf("%s, in a message: %d units", tt.name, units(got))
		}
	}
	block := content(`["` + strings.Repeat("x", 3000) + `"]`)
	if units(block) != MaxContent || !strings.HasPrefix(block, "```json\n[") || !strings.HasSuffix(block, "x…\n```") {
		t.Errorf("JSON is cut to %d units: %.20q", units(block), block)
	}
	many := strings.TrimSuffix(strings.Repeat(`{"title":"x"},`, 11), ",")
	for _, result := range []string{"[" + many + "]", `{"embeds":[` + many + `]}`} {
		r := Format(Command, json.RawMessage(result))
		if n := strings.Count(string(r.Data), "title"); n != 10 {
			t.Errorf("%d embeds are left, want 10", n)
		}
	}
}

// FuzzFormat checks that any result becomes a response with JSON that an edit can have, and a content that Discord takes.
func FuzzFormat(f *testing.F) {
	for _, result := range []string{
		``, `null`, `"x"`, `{"content":"x","flags":68}`, `{"title":"x"}`, `[{"title":"x"}]`, `{"type":9,"data":{}}`,
		`{"type":7,"data":{"flags":1e3}}`, `{"flags":0.5}`, "[\"```\"]", `{"content":null,"embeds":null}`,
	} {
		for _, typ := range []Type{Command, Component, Modal} {
			f.Add(int(typ), []byte(result))
		}
	}
	f.Fuzz(func(t *testing.T, typ int, result []byte) {
		if len(result) > 0 && !isStrict(result) {
			return // a handler's result is
		}
		r := Format(Type(typ), result)
		var m struct {
			Content any `json:"content"`
		}
		if err := json.Unmarshal(r.Data, &m); err != nil || !json.Valid(r.Inline()) || !json.Valid(r.Message()) {
			t.Fatalf("no JSON: %s", r.Inline())
		}
		if content, _ := m.Content.(string); units(content) > MaxContent && !r.IsModal() {
			t.Fatalf("the content has %d units", units(content))
		}
	})
}

// TestFormatHostile: whatever a handler returns, there is a response that can be encoded, and it costs little.
func TestFormatHostile(t *testing.T) {
	deep := func(levels int, within string) string {
		return strings.Repeat("[", levels) + within + strings.Repeat("]", levels)
	}
	for name, result := range map[string]string{
		"a deep message":                   `{"content":"x","embeds":` + deep(9_998, "") + `}`,
		"a deep embed":                     `{"title":"x","fields":` + deep(9_998, "") + `}`,
		"deep embeds":                      `[{"title":"x","fields":` + deep(9_997, "") + `}]`,
		"a deep whole response":            `{"type":4,"data":{"embeds":` + deep(9_997, "") + `}}`,
		"a deep modal":                     `{"type":9,"data":{"components":` + deep(9_997, "") + `}}`,
		"JSON that is deep and wide":       deep(5_000, strings.Repeat("1,", 100_000)+"1"),
		"JSON that is no UTF-8":            "{\"a\":\"\xff\"}",
		"a message whose text is no UTF-8": "{\"content\":\"\xff\"}",
	} {
		t.Run(name, func(t *testing.T) {
			r := Format(Command, json.RawMessage(result))
			answer, err := json.Marshal(&Answer{Response: r})
			if err != nil || !json.Valid(r.Inline()) || !strings.Contains(string(answer), "```json") {
				t.Errorf("got %.200s, %v; want the JSON as text", answer, err)
			}
		})
	}
}
