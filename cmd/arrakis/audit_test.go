package main

import (
	"os"
	"os/user"
	"regexp"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// The audit log names the user and the host of a command line, and says what each command has changed.
func TestAudit(t *testing.T) {
	t.Parallel()
	env := environment{"REDIS_URL": "redis://" + testserver.Redis(t).Addr()}
	for _, command := range []string{
		"tenant set comm_1 --tier pro --commands 7", "tenant upgrade comm_1 free", "flag set f --on --include comm_1,comm_2",
		"flag set f --include comm_2", "tiers set {}", "reset comm_1", "reload", "tenant delete comm_1", "flag delete f",
	} {
		if r := arrakis(t, env, strings.Fields(command)...); r.code != exitDone {
			t.Fatalf("%s: %+v", command, r)
		}
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	who := "cli:" + u.Username + "@" + host
	got := arrakis(t, env, "audit").stdout
	if n := strings.Count(got, who+" "); n != 9 {
		t.Errorf("%d changes by %s, want 9:\n%s", n, who, got)
	}
	got = strings.ReplaceAll(got, who, "WHO")
	for _, line := range []string{
		`WHEN +WHO +WHAT +CHANGE`,
		`Z +WHO +flag f +deleted`,
		`Z +WHO +reload +everything is read again`,
		`Z +WHO +reset comm_1 +reset: command, eligibility_check, sync_request, user_command`,
		`Z +WHO +flag f +communities.include: −comm_1`,
		`Z +WHO +tenant comm_1 +rateLimits.commandsPerMinute: 7 → not set`,
		` +tier: pro → free`,
		`Z +WHO +tenant comm_1 +created`,
	} {
		if !regexp.MustCompile(`(?m)` + line + `$`).MatchString(got) {
			t.Errorf("no line %s in\n%s", line, got)
		}
	}
	if r := arrakis(t, env, "audit", "--target=f", "--type=flag", "--limit=1"); strings.Count(r.stdout, "Z ") != 1 || !strings.Contains(r.stdout, "there are more: --cursor ") {
		t.Errorf("one of the changes of f: %s", r.stdout)
	}
	if r := arrakis(t, env, "audit", "--target=nobody"); r.stdout != "no changes\n" {
		t.Errorf("the changes of nobody: %s", r.stdout)
	}
	for _, wrong := range []string{"--type=x", "--cursor=x"} {
		if r := arrakis(t, env, "audit", wrong); r.code != exitUsage {
			t.Errorf("%s: %+v", wrong, r)
		}
	}
}
