package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
)

// discordSite is a fake Discord with one application, and a file of commands.
type discordSite struct {
	fake *fakediscord.Server
	env  environment
	file string
}

func newDiscordSite(t *testing.T) *discordSite {
	t.Helper()
	s := &discordSite{fake: fakediscord.New(fakediscord.Options{}), file: filepath.Join(t.TempDir(), "commands.json")}
	url, err := s.fake.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.fake.Close() })
	s.env = environment{"DISCORD_APPLICATION_ID": s.fake.ApplicationID(), "DISCORD_BOT_TOKEN": s.fake.BotToken(), "DISCORD_API_URL": url}
	return s
}

// register writes the file and registers it.
func (s *discordSite) register(t *testing.T, commands string, flags ...string) result {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	return arrakis(t, s.env, append([]string{"discord", "register", s.file}, flags...)...)
}

// registered are the names of the commands that Discord has.
func (s *discordSite) registered(guild string) string {
	var names []string
	for _, c := range s.fake.Commands(guild) {
		names = append(names, c["name"].(string)) //nolint:forcetypeassert // it was checked
	}
	return strings.Join(names, " ")
}

const (
	pingCommand = `{"name":"ping","description":"Answers pong"}`
	echoCommand = `{"name":"echo","description":"Says it again","options":[{"type":3,"name":"text","description":"What","required":true}]}`
)

func TestDiscordRegister(t *testing.T) {
	t.Parallel()
	s := newDiscordSite(t)
	for _, tt := range []struct {
		name, commands, flags string
		code                  int
		stdout, stderr        string // of stderr a part
		after                 string // commands that there are afterwards
	}{
		{
			"shown", "[" + pingCommand + "," + echoCommand + "]", "--dry-run", exitDone,
			"commands for all guilds: 2 to add, 0 to change, 0 to remove, 0 stay\n+ /ping  added\n+ /echo  added\nnothing is changed yet\n", "", "",
		},
		{
			"nobody to ask", "[" + pingCommand + "]", "", exitUsage,
			"commands for all guilds: 1 to add, 0 to change, 0 to remove, 0 stay\n+ /ping  added\n", "add --yes to do it, or --dry-run", "",
		},
		{
			"added", "[" + pingCommand + "," + echoCommand + "]", "--yes", exitDone,
			"commands for all guilds: 2 to add, 0 to change, 0 to remove, 0 stay\n+ /ping  added\n+ /echo  added\n" +
				"done: clients of Discord show the change within a minute, or when they are started again\n", "", "ping echo",
		},
		{
			"again", "[" + echoCommand + "," + pingCommand + "]", "", exitDone,
			"commands for all guilds: 0 to add, 0 to change, 0 to remove, 2 stay\nnothing to do: Discord has these commands\n", "", "ping echo",
		},
		{
			"changed and removed", "[" + strings.Replace(strings.Replace(echoCommand, "Says it again", "Repeats", 1), `"required":true`, `"required":false`, 1) + `,{"type":2,"name":"Wave"}]`,
			"--yes", exitDone,
			"commands for all guilds: 1 to add, 1 to change, 1 to remove, 0 stay\n" +
				"+ Wave (user command)  added\n" +
				"~ /echo                description: \"Says it again\" → \"Repeats\"\n" +
				"                       options[0].required: true → nothing\n" +
				"- /ping                REMOVED: nobody can use it any more\n" +
				"done: clients of Discord show the change within a minute, or when they are started again\n", "", "echo Wave",
		},
		{"programs have to say yes", "[]", "--json", exitUsage, "", "add --yes", "echo Wave"},
		{
			"for programs", "[" + pingCommand + "]", "--json --dry-run", exitDone,
			"{\n  \"added\": [\n    {\n      \"name\": \"ping\",\n      \"type\": 1\n    }\n  ],\n  \"changed\": [],\n" +
				"  \"removed\": [\n    {\n      \"name\": \"echo\",\n      \"type\": 1\n    },\n    {\n      \"name\": \"Wave\",\n      \"type\": 2\n    }\n  ],\n  \"same\": 0,\n  \"applied\": false\n}\n",
			"", "echo Wave",
		},
		{"bad file", `[{"name":"Ping","description":"d"}]`, "--yes", exitUsage, "", `[0].name: is "Ping": expected small letters`, "echo Wave"},
		{"both", "[]", "--yes --dry-run", exitUsage, "", "leave one out", "echo Wave"},
		{"bad guild", "[]", "--guild=home", exitUsage, "", "--guild", "echo Wave"},
	} {
		r := s.register(t, tt.commands, strings.Fields(tt.flags)...)
		if r.code != tt.code || !strings.Contains(r.stderr, tt.stderr) || tt.stderr == "" && r.stderr != "" {
			t.Errorf("%s: exit code %d, %s", tt.name, r.code, r.stderr)
		}
		if diff := cmp.Diff(tt.stdout, r.stdout); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if got := s.registered(""); got != tt.after {
			t.Errorf("%s: Discord has %q, want %q", tt.name, got, tt.after)
		}
	}
	if r := s.register(t, "["+pingCommand+"]", "--yes", "--guild=7"); r.code != exitDone || !strings.HasPrefix(r.stdout, "commands for guild 7: 1 to add") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if all, one := s.registered(""), s.registered("7"); all != "echo Wave" || one != "ping" {
		t.Errorf("Discord has %q for all and %q for the guild", all, one)
	}
}

// What Discord refuses is told with what to do about it, and without the token.
func TestDiscordRegisterRefused(t *testing.T) {
	t.Parallel()
	s := newDiscordSite(t)
	s.env["DISCORD_BOT_TOKEN"] = "hunter2"
	if r := s.register(t, "[]"); r.code != exitFailed || !strings.Contains(r.stderr, "DISCORD_BOT_TOKEN is not valid") || strings.Contains(r.stderr, "hunter2") {
		t.Errorf("%+v", r)
	}
	s.env["DISCORD_BOT_TOKEN"] = "hunter2 "
	if r := s.register(t, "[]"); r.code != exitUsage || strings.Contains(r.stderr, "hunter2") {
		t.Errorf("%+v", r)
	}
	s.env["DISCORD_BOT_TOKEN"], s.env["DISCORD_APPLICATION_ID"] = s.fake.BotToken(), "7"
	if r := s.register(t, "[]"); r.code != exitFailed || !strings.Contains(r.stderr, "does DISCORD_APPLICATION_ID belong to this bot?") {
		t.Errorf("%+v", r)
	}
	s.fake.Fail(1, fakediscord.Status(http.StatusBadGateway))
	if r := s.register(t, "[]"); r.code != exitFailed || !strings.Contains(r.stderr, "try again later") {
		t.Errorf("%+v", r)
	}
	s.env["DISCORD_API_URL"] += "/no/api"
	if r := s.register(t, "[]"); r.code != exitFailed || !strings.Contains(r.stderr, "is DISCORD_API_URL right?") {
		t.Errorf("%+v", r)
	}
	s.env["DISCORD_API_URL"] = "http://127.0.0.1:1"
	if r := s.register(t, "[]"); r.code != exitFailed || !strings.Contains(r.stderr, "discord does not answer") ||
		!strings.Contains(r.stderr, "can this machine reach DISCORD_API_URL?") {
		t.Errorf("%+v", r)
	}
	if r := arrakis(t, s.env, "discord", "register", "/no/such/file"); r.code != exitUsage || !strings.Contains(r.stderr, "/no/such/file") {
		t.Errorf("%+v", r)
	}
	if r := arrakis(t, nil, "discord", "register", "-"); r.code != exitUsage || !strings.Contains(r.stderr, "DISCORD_APPLICATION_ID") || !strings.Contains(r.stderr, "DISCORD_BOT_TOKEN") {
		t.Errorf("%+v", r)
	}
}

// On a terminal it asks, and only yes is yes. From a pipe it does not.
func TestDiscordRegisterAsks(t *testing.T) {
	t.Parallel()
	s := newDiscordSite(t)
	if r := s.register(t, "["+pingCommand+"]", "--yes"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	if err := os.WriteFile(s.file, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	answer := func(file string, yes bool) (asked string, code int) {
		var stdout, stderr testserver.Output
		p := process{
			lookupEnv: s.env.lookup, stdin: strings.NewReader("[]"), stdout: &stdout, stderr: &stderr,
			ask: func(question string) (bool, error) { asked = question; return yes, nil },
		}
		code = run(t.Context(), []string{"discord", "register", file}, p)
		return asked, code
	}
	const question = "Replace the commands, and REMOVE 1 command?"
	if asked, code := answer(s.file, false); asked != question || code != exitFailed || s.registered("") != "ping" {
		t.Errorf("asked %q, exit code %d, Discord has %q", asked, code, s.registered(""))
	}
	if asked, code := answer("-", true); asked != "" || code != exitUsage || s.registered("") != "ping" {
		t.Errorf("asked %q, exit code %d, Discord has %q", asked, code, s.registered(""))
	}
	if asked, code := answer(s.file, true); asked != question || code != exitDone || s.registered("") != "" {
		t.Errorf("asked %q, exit code %d, Discord has %q", asked, code, s.registered(""))
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]bool{"y\n": true, "Yes \r\n": true, "yes": true, "\n": false, "": false, "n\n": false, "yesterday\n": false} {
		var out bytes.Buffer
		if yes, err := ask(strings.NewReader(typed), &out, "Do it?"); yes != want || err != nil || out.String() != "Do it? [y/N] " {
			t.Errorf("%q: %t, %v, %q", typed, yes, err, out.String())
		}
	}
}

func TestDiscordInvite(t *testing.T) {
	t.Parallel()
	env := environment{"DISCORD_APPLICATION_ID": "123"}
	for args, want := range map[string]string{
		"":                             "https://discord.com/oauth2/authorize?client_id=123&scope=bot+applications.commands\n",
		"--permissions=2048 --guild=5": "https://discord.com/oauth2/authorize?client_id=123&disable_guild_select=true&guild_id=5&permissions=2048&scope=bot+applications.commands\n",
	} {
		r := arrakis(t, env, append([]string{"discord", "invite"}, strings.Fields(args)...)...)
		if r.code != exitDone || !strings.HasPrefix(r.stdout, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := arrakis(t, env, "discord", "invite", "--json"); !strings.Contains(r.stdout, `"url": "https://discord.com/oauth2/authorize?client_id=123`) {
		t.Errorf("%+v", r)
	}
}
