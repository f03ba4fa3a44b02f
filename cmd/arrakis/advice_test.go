package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"arrakis/loadtest/testserver"
)

// TestNothingStored: an error that a document is missing says which command stores it.
func TestNothingStored(t *testing.T) {
	t.Parallel()
	env := environment{"REDIS_URL": "redis://" + testserver.Miniredis(t).Addr()}
	for command, want := range map[string]string{
		"tenant get nobody": "arrakis: tenant \"nobody\": not found: it has the free tier; store a config to change that; try `arrakis tenant set nobody --tier pro`\n",
		"flag get beta":     "arrakis: flag \"beta\": not found: it is off for everybody; try `arrakis flag set beta --on`\n",
	} {
		if r := arrakis(t, env, strings.Fields(command)...); r.code != exitFailed || r.stderr != want {
			t.Errorf("%s: %+v", command, r)
		}
	}
}

// TestUnusableDocumentsWarn: a document that cannot be used is one plain line, and only for the commands that go by it.
func TestUnusableDocumentsWarn(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	if err := m.Set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":"20"}}}`); err != nil {
		t.Fatal(err)
	}
	if err := m.Set("tenant:config:bad", `{"tier":"gold"}`); err != nil {
		t.Fatal(err)
	}
	warning := func(key, by, command string) string {
		return "arrakis: warning: the document in Redis at " + key + " cannot be used: this command goes by the " + by + ", " +
			"workers by the last usable one that they have read; `arrakis " + command + "` says what is wrong\n"
	}
	tiers := warning("arrakis:tiers", "default tiers", "tiers get")
	for _, tt := range []struct{ command, stderr string }{
		{"tenant set comm_1 --tier pro", tiers},
		{"tenant get comm_1", tiers},
		{"tenant list", tiers},
		{"usage comm_1", tiers},
		{"usage bad", tiers + warning("tenant:config:bad", "free tier", "tenant get bad")},
		{"reset comm_1", tiers},
		{"flag list", ""},
		{"reload", ""},
		{"tiers set {}", ""},
		{"usage comm_1", ""},
	} {
		if r := arrakis(t, env, strings.Fields(tt.command)...); r.code != exitDone || r.stderr != tt.stderr {
			t.Errorf("%s: %+v", tt.command, r)
		}
	}
}

// TestUnusableDocumentsAreRemoved: the error of a document that cannot be used names a command that removes it, and the
// command works.
func TestUnusableDocumentsAreRemoved(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	if err := errors.Join(m.Set("arrakis:tiers", `{"free":1}`), m.Set("tenant:config:bad", `{"tier":"gold"}`)); err != nil {
		t.Fatal(err)
	}
	m.HSet("arrakis:flags", "beta", "{")
	for _, tt := range []struct {
		command string
		remove  []string
	}{
		{"tiers get", []string{"tiers", "set", "{}"}},
		{"tenant set bad --tier pro", []string{"tenant", "delete", "bad"}},
		{"flag set beta --on", []string{"flag", "delete", "beta"}},
	} {
		words := strings.Replace(strings.Join(tt.remove, " "), "{}", "'{}'", 1)
		want := "\narrakis: this is wrong in what is stored, not in what was given: `arrakis " + words + "` removes it\n"
		if r := arrakis(t, env, strings.Fields(tt.command)...); r.code != exitFailed || !strings.HasSuffix(r.stderr, want) {
			t.Errorf("%s: %+v", tt.command, r)
		}
		if r := arrakis(t, env, tt.remove...); r.code != exitDone {
			t.Errorf("%s: %+v", words, r)
		}
	}
}

// TestRefusedUser: of a server that runs and refuses the user, the error does not ask whether it runs.
func TestRefusedUser(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	m.RequireAuth("secret")
	natsServer := testserver.NATS(t, func(o *server.Options) { o.Username, o.Password = "arrakis", "secret" })
	at := func(user string) environment {
		return environment{"REDIS_URL": "redis://" + user + m.Addr(), "NATS_URL": strings.Replace(natsServer.URL(), "//", "//"+user, 1)}
	}
	for _, user := range []string{"", ":wrong@", "arrakis:wrong@"} {
		for command, setting := range map[string]string{"usage comm_1": "REDIS_URL", "status": "NATS_URL"} {
			r := arrakis(t, at(user), strings.Fields(command)...)
			if r.code != exitFailed || strings.Contains(r.stderr, "is it running") || strings.Contains(r.stderr, "wrong@") ||
				!strings.Contains(r.stderr, "refuses this user: check") || !strings.Contains(r.stderr, setting) {
				t.Errorf("%s as %q: %+v", command, user, r)
			}
		}
	}
	env := at("arrakis:wrong@")
	env["LIMIT_ON_REDIS_DOWN"], env["INGRESS_AUTH"], env["HTTP_ADDR"], env["OPS_ADDR"] = "closed", "none", "127.0.0.1:0", "127.0.0.1:0"
	b := start(t, env, "serve")
	testserver.Eventually(t, "serve says of both that they refuse the user", func() bool {
		const hint = "; it runs, but refuses the user"
		log := b.stderr.String()
		return strings.Contains(log, "WRONGPASS invalid username-password pair"+hint) && strings.Contains(log, "Authorization Violation"+hint)
	})
}

// TestReplicasWithoutACluster: that a server is no cluster is said once, with the setting, and not for each stream.
func TestReplicasWithoutACluster(t *testing.T) {
	t.Parallel()
	natsServer, m := testserver.NATS(t), testserver.Miniredis(t)
	env := serveEnv(natsServer.URL(), m.Addr())
	env["STREAM_STORAGE"] = "memory"
	const want = "arrakis: streams COMMANDS, EVENTS, ELIGIBILITY, INTERNAL, DEADLETTER, RETRY, OVERFLOW, ANSWERS: 3 replicas need a cluster of at least 3 nats-servers " +
		"with JetStream and room for them, which this is not: lower STREAM_REPLICAS (--stream-replicas), or add servers; "
	check := func(when string) {
		t.Helper()
		r := arrakis(t, env, "provision", "--apply", "--stream-replicas=3")
		if r.code != exitFailed || !strings.HasPrefix(r.stderr, want) || strings.Count(r.stderr, "10074") != 1 || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", when, r)
		}
	}
	check("streams are missing")
	b := start(t, env, "serve", "--stream-replicas=3")
	const said = "streams COMMANDS, EVENTS, ELIGIBILITY, DEADLETTER: 3 replicas need a cluster"
	testserver.Eventually(t, "serve says it", func() bool { return strings.Contains(b.stderr.String(), said) })
	_, ops := addresses(t, b)
	client := newClient(t)
	testserver.Eventually(t, "/readyz says it", func() bool {
		return strings.Contains(string(do(t, client, http.MethodGet, ops+"/readyz", "").body), said)
	})
	b.stop()
	b.exit(t)
	if n := strings.Count(b.stderr.String(), "10074"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if r := arrakis(t, env, "provision", "--apply"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	check("streams exist")
}

// TestNobodyHandles: who sends a command that nobody handles is told where a handler would get it, over HTTP and NATS.
func TestNobodyHandles(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--retry-backoff=1m") // so that a sender is told at once
	const want = "no handler answers at handlers.command.nobody; start one there, see README.md, Write a handler"
	r := d.command(t, "comm_000", "nobody", "{}")
	if r.status != http.StatusBadGateway || !strings.Contains(string(r.body), `"type":"urn:arrakis:problem:handler-failed"`) ||
		!strings.Contains(string(r.body), `"detail":"`+want+`"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := arrakis(t, d.env(), "send", "comm_000", "nobody"); r.code != exitFailed || !strings.Contains(r.stdout, want+" (502)\n") {
		t.Errorf("%+v", r)
	}
	// What arrakis answers ends with a newline, so that a shell's prompt is not behind it.
	for body, r := range map[string]response{"200": d.command(t, "comm_000", "ping", "{}"), "502": r} {
		if !strings.HasSuffix(string(r.body), "}\n") || strings.HasSuffix(string(r.body), "\n\n") {
			t.Errorf("%s: %d %q", body, r.status, r.body)
		}
	}
}
