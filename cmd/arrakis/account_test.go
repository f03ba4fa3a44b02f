package main

import (
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// spoken is an output with one space between words.
func spoken(r result) string { return strings.Join(strings.Fields(r.stdout), " ") + " " }

// Communities get into an account and out of it, and every command that shows a community says what that means.
func TestAccount(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr(), "NATS_URL": "nats://127.0.0.1:1"}
	const together = "account acme (Acme Inc.): limits are counted together for all of its communities "
	for _, tt := range []struct {
		command string
		code    int
		want    string // in the output
	}{
		{"account list", exitDone, "there are no accounts: `arrakis account set <id> --tier pro` makes one "},
		{"account get acme", exitFailed, "account \"acme\": not found; try `arrakis account set acme --tier pro`"},
		{"account delete acme", exitFailed, "not found"},
		{"tenant set c1 --account acme", exitFailed, "account: there is no account \"acme\"; create it before a community is put into it"},
		{"account set acme", exitUsage, "nothing to set"},
		{"account set acme --tier gold --counted both --weight 101", exitUsage, "counted: is unknown"},
		{"account set a.b --tier pro", exitUsage, `account: "a.b"`},
		{"account set acme --tier pro --commands 500", exitDone, "account acme tier pro limits counted for each of its communities features customBranding, advancedAnalytics weight 2 command 500 per 1m eligibility_check 1000 per 1h"},
		{"account communities acme", exitDone, "no community is in this account: `arrakis tenant set <community> --account acme` puts one into it "},
		{"tenant set c1 --account acme", exitDone, "community c1 account acme: limits are counted for this community alone tier pro from the account acme features"},
		{"tenant set c2 --tier enterprise --checks 7", exitDone, "tier enterprise, set by hand "},
		{"tenant set c2 --account acme", exitDone, "tier pro from the account acme, over enterprise, set by hand features customBranding, advancedAnalytics weight 2 command 500 per 1m eligibility_check 7 per 1h"},
		{"tenant upgrade c2 enterprise --keep-overrides", exitDone, "tier pro from the account acme, over enterprise, set by hand "},
		{`account set acme --counted together --data={"name":"Acme@Inc."}`, exitDone, "account acme name Acme Inc. tier pro limits counted for all communities together, but for user_command "},
		{"account get acme --json", exitDone, `"name": "Acme Inc.", "tier": "pro", "counted": "together", "features": {}, "rateLimits": { "commandsPerMinute": 500 }`},
		{"tenant get c1", exitDone, together + "tier pro from"},
		{"usage c1", exitDone, "community c1 (pro) " + together + "ACTION USED"},
		{"usage c1 --json", exitDone, `"account": { "id": "acme", "name": "Acme Inc.", "counted": "together" }`},
		{"explain c1 ping", exitDone, "community c1 (pro) " + together + "tier pro from the account acme command It would be handled now: 0 of the account's 500 commands of the last minute are used."},
		{"explain c2 ping", exitDone, "command 500 per 1m 0 now account, over 100 (default) eligibility_check 7 per 1h 0 now tenant, over 1000 (default) "},
		{"explain c1 ping --json", exitDone, `"tier_setting": { "value": "pro", "source": "account", "beneath": [ { "value": "free", "source": "tenant" }`},
		{"reset c1", exitDone, "reset command, eligibility_check, sync_request, user_command of c1 It counts together with all communities of the account acme: they are reset too, but for user_command. "},
		{"reset c1 user_command", exitDone, "reset user_command of c1 "},
		{"reset c1 command --json", exitDone, `"account": "acme"`},
		{"tenant list", exitDone, "c1 pro@ 500 1000 10 2 of 4 c2 pro@ 500 7 10 2 of 4 "},
		{"account communities acme", exitDone, "COMMUNITY TIER COMMANDS/MIN CHECKS/H SYNCS/DAY FEATURES c1 pro@ 500 1000 10 2 of 4 c2 pro@"},
		{"account communities acme --limit 1", exitDone, "there are more: --cursor "},
		{"account list", exitDone, "ACCOUNT TIER COUNTED COMMANDS/MIN CHECKS/H SYNCS/DAY NAME acme pro together 500 1000 10 Acme Inc. "},
		{"account list --json", exitDone, `"accounts": [ { "id": "acme", "etag": "\"`},
		{"account list --cursor x", exitUsage, "cursor"},
		{"account set acme --counted each --name default --commands default", exitDone, "account acme tier pro limits counted for each of its communities features customBranding, advancedAnalytics weight 2 command 100 per 1m"},
		{"account delete acme", exitFailed, "communities are in it, such as \"c1\", which would have what its own config says; `arrakis account communities acme` lists them, and --force deletes it all the same"},
		{"tenant set c1 --no-account", exitDone, "community c1 tier free, set by hand "},
		{"account delete acme --force", exitDone, "deleted acme: communities that were in it have what their own configs say now "},
		{"tenant get c2", exitDone, "account acme: there is no such account, so the config alone counts tier enterprise, set by hand "},
		{"explain c2 ping", exitDone, "account acme: there is no such account, so the config alone counts "},
		{"tenant set c2 --no-account", exitDone, "tier enterprise, set by hand "},
		{"account set acme --tier pro", exitDone, ""},
		{"account delete acme", exitDone, "deleted acme: no community was in it "},
		{"audit --type account --limit 2", exitDone, "account acme "},
	} {
		words := strings.Fields(tt.command)
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "@", " ")
		}
		r := arrakis(t, env, words...)
		if r.code != tt.code || !strings.Contains(spoken(r)+r.stderr, tt.want) {
			t.Errorf("%s: exit code %d, no %q in\n%s%s", tt.command, r.code, tt.want, spoken(r), r.stderr)
		}
	}
}

// An account that cannot be used is named with the command that removes it, and warned of where others go by it.
func TestUnusableAccount(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	for key, text := range map[string]string{"account:config:acme": `{"tier":"gold"}`, "tenant:config:c1": `{"tier":"free","account":"acme"}`} {
		if err := m.Set(key, text); err != nil {
			t.Fatal(err)
		}
	}
	r := arrakis(t, env, "account", "set", "acme", "--tier", "pro")
	if want := "`arrakis account delete --force acme` removes it"; r.code != exitFailed || !strings.Contains(r.stderr, want) {
		t.Errorf("account set: %+v, want %s", r, want)
	}
	for _, command := range []string{"tenant get c1", "tenant list", "usage c1"} {
		r := arrakis(t, env, strings.Fields(command)...)
		if want := "account:config:acme cannot be used: this command goes by what configs say themselves, "; r.code != exitDone || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v, want %s", command, r, want)
		}
	}
	if r := arrakis(t, env, "account", "list"); r.code != exitDone || !strings.Contains(spoken(r), "acme cannot be used: see `arrakis account get acme`") {
		t.Errorf("account list: %+v", r)
	}
	if r := arrakis(t, env, "account", "delete", "--force", "acme"); r.code != exitDone {
		t.Errorf("account delete: %+v", r)
	}
}
