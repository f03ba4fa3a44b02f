package discord

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// corpus returns the interactions of testdata by name. They have the forms of Discord's public documentation.
func corpus(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("testdata/interactions/*.json")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no interactions in testdata (%v)", err)
	}
	all := make(map[string][]byte, len(paths))
	for _, path := range paths {
		if all[strings.TrimSuffix(filepath.Base(path), ".json")], err = os.ReadFile(path); err != nil {
			tb.Fatal(err)
		}
	}
	return all
}

func TestEnvelopesOfTheCorpus(t *testing.T) {
	for name, body := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			i, err := Parse(body)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if i.Type == Ping {
				return
			}
			checkEnvelope(t, i)
			text, err := i.Envelope()
			if err != nil {
				t.Fatal(err)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, text, "", "  "); err != nil {
				t.Fatal(err)
			}
			testserver.Golden(t, "envelopes/"+name+".json", indented.String()+"\n")
		})
	}
}

// checkEnvelope checks that the contract reads from the envelope what Parse has found.
func checkEnvelope(tb testing.TB, i *Interaction) {
	tb.Helper()
	text, err := i.Envelope()
	if err != nil {
		tb.Fatalf("Envelope: %v", err)
	}
	e, err := contract.Decode(contract.KindCommand, text)
	if err != nil {
		tb.Fatalf("the contract refuses the envelope: %v\n%s", err, text)
	}
	type read struct{ EventID, Community, GuildID, UserID, Command string }
	want := read{i.ID, i.Community(), i.GuildID, i.UserID, i.Command}
	got := read{e.EventID, e.TenantKey, e.GuildID, e.UserID, e.Command}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("the contract reads another message (-want +got)\n%s", diff)
	}
	target, ok := TargetOf(e.Data)
	if !ok {
		tb.Fatalf("TargetOf finds no target in %s", e.Data)
	}
	if diff := cmp.Diff(i.Target(), target); diff != "" {
		tb.Errorf("TargetOf (-want +got)\n%s", diff)
	}
}

func FuzzInteraction(f *testing.F) {
	for _, body := range corpus(f) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		i, err := Parse(body)
		if err != nil {
			if _, ok := errors.AsType[*ParseError](err); !ok {
				t.Fatalf("Parse returned a %T: %v", err, err)
			}
			return
		}
		if i.Type != Ping {
			checkEnvelope(t, i)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	command := `{"id":"1","application_id":"2","token":"t","type":2,"guild_id":"3","channel_id":"4",` +
		`"member":{"user":{"id":"5"}},"data":{"id":"6","name":"ping","type":1}}`
	if _, err := Parse([]byte(command)); err != nil {
		t.Fatal(err)
	}
	options := func(options string) string {
		return strings.Replace(command, `"type":1}`, `"type":1,"options":`+options+`}`, 1)
	}
	modal := func(components string) string {
		return strings.NewReplacer(`"type":2`, `"type":5`, `{"id":"6","name":"ping","type":1}`,
			`{"custom_id":"m","components":`+components+`}`).Replace(command)
	}
	for _, tt := range []struct {
		name, body string
		want       string // the beginning of the error
	}{
		{"nothing", ``, "expected one JSON object in UTF-8: byte 0"},
		{"no JSON", `type=2`, "expected one JSON object in UTF-8"},
		{"cut", command[:100], "expected one JSON object in UTF-8: byte 100 "},
		{"two values", command + command, "expected one JSON object in UTF-8"},
		{"an array", `[]`, "has the wrong type: expected an object"},
		{"null", `null`, "type: "},
		{"nested too deep", `{"type":1,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "the body nests deeper"},
		{"a type that is not known", strings.Replace(command, `"type":2`, `"type":6`, 1), "type: "},
		{"a type as a string", strings.Replace(command, `"type":2`, `"type":"2"`, 1), "type: has the wrong type: expected an integer"},
		{"a member that is twice", strings.Replace(command, `{"id"`, `{"id":"7","id"`, 1), "id: is twice"},
		{"a member that is twice further in", strings.Replace(command, `"member":{`, `"member":{"nick":null,"nick":"x",`, 1), "member.nick: is twice"},
		{"an ID as a number", strings.Replace(command, `"id":"1"`, `"id":1`, 1), "id: has the wrong type: expected a string"},
		{"no ID", strings.Replace(command, `"id":"1",`, ``, 1), "id: expected an ID"},
		{"an ID with a letter", strings.Replace(command, `"id":"1"`, `"id":"1a"`, 1), "id: expected an ID"},
		{"an ID that is too long", strings.Replace(command, `"id":"1"`, `"id":"123456789012345678901"`, 1), "id: expected an ID"},
		{"no application", strings.Replace(command, `"application_id":"2",`, ``, 1), "application_id: "},
		{"a guild with a wildcard", strings.Replace(command, `"guild_id":"3"`, `"guild_id":"*"`, 1), "guild_id: "},
		{"a channel with a dot", strings.Replace(command, `"channel_id":"4"`, `"channel_id":"4.5"`, 1), "channel_id: "},
		{"no token", strings.Replace(command, `"token":"t",`, ``, 1), "token: "},
		{"a token with a space", strings.Replace(command, `"token":"t"`, `"token":"t t"`, 1), "token: "},
		{"a token with a quote", strings.Replace(command, `"token":"t"`, `"token":"t\"t"`, 1), "token: "},
		{"a token that is too long", strings.Replace(command, `"token":"t"`, `"token":"`+strings.Repeat("t", 513)+`"`, 1), "token: "},
		{"nobody", strings.Replace(command, `"member":{"user":{"id":"5"}},`, ``, 1), "user: is missing"},
		{"a member without a user", strings.Replace(command, `{"user":{"id":"5"}}`, `{}`, 1), "member.user.id: "},
		{"a user as a number", strings.Replace(command, `{"user":{"id":"5"}}`, `{"user":5}`, 1), "member.user: has the wrong type: expected an object"},
		{"no data", command[:strings.Index(command, `,"data"`)] + "}", "data: is missing"},
		{"data as a list", command[:strings.Index(command, `"data"`)] + `"data":[]}`, "data: has the wrong type"},
		{"no command ID", strings.Replace(command, `"id":"6",`, ``, 1), "data.id: "},
		{"options as an object", options(`{}`), "data.options: has the wrong type: expected an array"},
		{"an option that is twice", options(`[{"name":"a","value":1},{"name":"a","value":2}]`), "data.options.1.name: is twice"},
		{"an option without a value", options(`[{"name":"a"}]`), "data.options.0.value: "},
		{"an option that is an object", options(`[{"name":"a","value":{}}]`), "data.options.0.value: "},
		{"an option in a group", options(`[{"type":2,"name":"g","options":[{"type":1,"name":"s","options":[{"name":"a","value":null}]}]}]`), "data.options.0.options.0.options.0.value: "},
		{"two fields with one name", modal(`[{"component":{"custom_id":"a","value":"1"}},{"components":[{"custom_id":"a","value":"2"}]}]`), "data.components: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.body))
			if _, ok := errors.AsType[*ParseError](err); !ok || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Parse returned %v, want an error that begins with %q", err, tt.want)
			}
		})
	}
}

func TestPingNeedsOnlyItsType(t *testing.T) {
	if i, err := Parse([]byte(`{"type":1}`)); err != nil || i.Type != Ping {
		t.Errorf("Parse returned %v, %v", i, err)
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"ping", "ping"},
		{"View Stats", "view-stats"},
		{"under_score-9", "under_score-9"},
		{"誕生日", "c-42"},
		{"naïve", "c-42"},
		{"", "c-42"},
		{strings.Repeat("a", 32), strings.Repeat("a", 32)},
		{strings.Repeat("a", 33), "c-42"},
		{strings.Repeat("a", 1000), "c-42"},
		{"a.b", "c-42"},
	} {
		if got := commandName(tt.name, "42"); got != tt.want {
			t.Errorf("commandName(%.40q) = %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ customID, want string }{
		{"click_me", "click_me"},
		{"Click Me:page:2", "click-me"},
		{":x", "unknown"},
		{"", "unknown"},
		{`{"page":2}`, "unknown"},
		{strings.Repeat("a", 33) + ":x", "unknown"},
	} {
		if got := customName(tt.customID); got != tt.want {
			t.Errorf("customName(%.40q) = %q, want %q", tt.customID, got, tt.want)
		}
	}
}
