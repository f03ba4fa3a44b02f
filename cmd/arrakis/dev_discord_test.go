package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/discord/appcommands"
)

// TestDevDiscord: `arrakis dev --discord` plays Discord, with commands that are answered, a limit that is told in the
// user's language, and something to buy.
func TestDevDiscord(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--discord")
	// A machine that is busy may answer late, which is no answer here.
	answers := func(guild, deed string, parts ...string) {
		t.Helper()
		body := `{"place":"` + guild + `","user":"` + demoUsers[0].ID + `","locale":"de","type":2,` + deed + `}`
		testserver.Succeeds(t, deed, func() error {
			r := do(t, d.client, http.MethodPost, d.ops+"/discord/interactions", body)
			for _, part := range parts {
				if r.status != http.StatusOK || !strings.Contains(string(r.body), part) {
					return fmt.Errorf("answer %d %s, want %s", r.status, r.body, part)
				}
			}
			return nil
		})
	}
	free, flooded, enterprise := demoGuilds[0].ID, demoGuilds[1].ID, demoGuilds[3].ID
	answers(enterprise, `"name":"ping"`, `"content":"pong"`)
	answers(enterprise, `"name":"usage"`, `"custom_id":"usage:again"`)
	answers(enterprise, `"name":"stats"`, "enterprise")
	answers(flooded, `"name":"ping","times":20`)
	answers(flooded, `"name":"ping"`, `"flags":64`, "zu viele Befehle", ":R")
	answers(free, `"name":"stats"`, "free")
	buy := `{"place":"` + free + `","user":"` + demoUsers[0].ID + `","has":true}`
	if r := do(t, d.client, http.MethodPost, d.ops+"/discord/premium", buy); r.status != http.StatusOK || strings.TrimSpace(string(r.body)) != "{}" {
		t.Errorf("buy: %d %s", r.status, r.body)
	}
	answers(free, `"name":"stats"`, "pro")

	env := environment{}
	for _, m := range regexp.MustCompile(`(DISCORD_\w+)=(\S+)`).FindAllStringSubmatch(d.stdout.String(), -1) {
		env[m[1]] = m[2]
	}
	r := arrakis(t, env, "discord", "register", "demo_commands.json")
	if r.code != exitDone || !strings.Contains(r.stdout, "nothing to do") {
		t.Errorf("%+v", r)
	}
}

// The commands of the demo are those that the built-in handlers know.
func TestDemoCommands(t *testing.T) {
	t.Parallel()
	commands, err := appcommands.ParseFile(demoCommands, false)
	if err != nil {
		t.Fatal(err)
	}
	handlers := (&demo{}).commands()
	for _, c := range commands {
		if handlers[c.Name] == nil {
			t.Errorf("nobody answers /%s", c.Name)
		}
		delete(handlers, c.Name)
	}
	for name := range handlers {
		t.Errorf("/%s is not registered", name)
	}
}

// Without --discord there is no chat, whatever the settings say of Discord.
func TestDevWithoutDiscord(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--discord-public-key="+strings.Repeat("0a", 32))
	if r := do(t, d.client, http.MethodGet, d.ops+"/discord", ""); r.status != http.StatusNotFound {
		t.Errorf("%d %s", r.status, r.body)
	}
	if banner := d.stdout.String(); strings.Contains(banner, "Discord") || strings.Contains(banner, "DISCORD") {
		t.Errorf("the banner tells of a chat: %s", banner)
	}
}

func TestBannerWithDiscord(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--discord")
	m := regexp.MustCompile(`(?m)^  Discord +(http://\S+/discord) `).FindStringSubmatch(d.stdout.String())
	if m == nil {
		t.Fatalf("the banner does not say where the chat is: %s", d.stdout.String())
	}
	r := do(t, d.client, http.MethodGet, m[1], "")
	if r.status != http.StatusOK || !strings.Contains(string(r.body), "discord.js") {
		t.Errorf("%d %s", r.status, r.body)
	}
}
