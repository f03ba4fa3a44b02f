package main

import (
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// commandLines are what is done with each command, a line each. "@" is a space inside an argument.
var commandLines = map[string][]string{
	"send": {
		"comm_1 work", "comm_1 fails", "comm_1 nobody --wait 200ms", "comm_1 single --kind eligibility --json --wait 200ms",
		`comm_1 work --data {"interaction_token":"` + markBody + `"}`, "comm_1 work --data [1]", "a.b work",
	},
	"usage":               {"comm_1", "comm_1 --json", "a.b"},
	"explain":             {"comm_1 ping", "comm_1 ping --user=42 --json", "comm_1 Ping"},
	"tenant get":          {"comm_1", "comm_1 --json", "nobody"},
	"tenant list":         {"", "--json", "--limit 1"},
	"tenant set":          {"comm_1 --tier pro", "comm_1 --commands=many", `comm_1 --data {"tear":1}`},
	"tenant boost":        {"comm_1 --commands=+5 --for=1h", "comm_1 --commands=many", "comm_1 --end", "nobody --end"},
	"tenant upgrade":      {"comm_1 enterprise", "comm_1 gold"},
	"tenant delete":       {"comm_2", "comm_1"},
	"tenant import":       {"testdata/no-such-file", "-"},
	"tenant rebuild":      {"", "--json"},
	"tenant reconcile":    {"", "--json --repair", "--force"},
	"tenant move":         {"--from redis --to postgres", "--from postgres --to redis --dry-run --json", "--from redis --to redis"},
	"migrate up":          {"", "--json"},
	"migrate status":      {"", "--json"},
	"migrate down":        {""},
	"account get":         {"acme", "acme --json", "nobody"},
	"account list":        {"", "--json", "--limit 1"},
	"account set":         {"acme --tier pro --counted together", "acme --commands=many", `acme --data {"tear":1}`},
	"account communities": {"acme", "acme --json", "a.b"},
	"account delete":      {"nobody", "acme --force"},
	"tiers get":           {"", "--json"},
	"tiers set":           {"{}", `{"gold":{}}`, `{"free":{"rateLimits":{"commandsPerMinute":1000}}}`},
	"flag get":            {"f1", "f1 --json"},
	"flag list":           {"", "--json"},
	"flag set":            {"f1 --on --tiers=pro", "f1 --rollout 101"},
	"flag delete":         {"nobody", "f1"},
	"discord register":    {"-", "testdata/no-such-file", "- --discord-application-id=1 --discord-bot-token=" + markWrong + " --discord-api-url=http://127.0.0.1:1"},
	"discord invite":      {"", "--discord-application-id=1 --guild=2 --json"},
	"discord reconcile":   {"", "--discord-application-id=1 --json --apply --discord-bot-token=" + markWrong + " --discord-api-url=http://127.0.0.1:1"},
	"discord sku set":     {"7 pro", "7 gold --json"},
	"discord sku list":    {"", "--json"},
	"discord sku delete":  {"7", "8", "x"},
	"reset":               {"comm_1", "comm_1 command", "comm_1 dance"},
	"reload":              {"", "comm_1"},
	"audit":               {"", "--json", "--target comm_1 --limit 1", "--type=dance"},
	"dlq list":            {"", "--json", "--limit 1", "--stream NONE"},
	"dlq show":            {"1", "1 --json", "999"},
	"dlq replay":          {"1", "999"},
	"dlq purge":           {"", "--reason malformed --yes"},
	"drain rabbitmq": {
		"", "--queue q --to commands --dry-run --url amqp://arrakis:" + markWrong + "@127.0.0.1:1/v", "--queue q --to moon --url amqp://arrakis:" + markWrong + "/x@h",
		"--queue q --to events --json --rabbitmq-tls-ca=no-such-file --url amqps://arrakis:" + markWrong + "@127.0.0.1:1", "--queue q --to commands --url " + markWrong,
		"--queue q --to commands --reverse --url amqp://arrakis:" + markWrong + "@127.0.0.1:1/v", "--queue q --to commands --idle 1s --url amqp://arrakis:" + markWrong + "@127.0.0.1:1/v",
		"--queue q --to commands --reverse --yes --url amqp://arrakis:" + markWrong + "@127.0.0.1:1/v",
	},
	"provision": {"", "--json", "--apply"},
	"status":    {"", "--json"},
	"version":   {"", "--json"},
	"dev":       {"--http-addr=nowhere"}, // TestMarkedSecretsInDev starts it
	"serve":     {"--http-addr=nowhere"}, // it runs all the time
}

// useCommands uses every command, well and badly.
func (s *site) useCommands(t *testing.T) {
	t.Helper()
	for _, leaf := range leaves(t) {
		lines, known := commandLines[leaf]
		if !known {
			t.Errorf("the command %q is not used: add it to commandLines", leaf)
		}
		for _, line := range append(lines, "--help", "--no-such-flag") {
			s.command(t, append(strings.Fields(leaf), strings.Fields(line)...)...)
		}
	}
}

// useIngress uses every path of the ingress, with bodies that are wrong in many ways around a user's token. Errors
// quote the IDs and names of a message, so the token is in none of these.
func (s *site) useIngress(t *testing.T) {
	t.Helper()
	const data = `"data":{"interaction_token":"` + markBody + `","command_name":`
	bodies := []string{
		`{"event_type":"guild.join","check_type":"single","community_id":"comm_1",` + data + `"work"}}`,
		`{"event_type":"guild.join","check_type":"single","community_id":"comm_1",` + data + `"fails"}}`,
		`{"event_type":"guild.join","check_type":"single","community_id":"comm_1",` + data + `"Bad name"}}`,
		`{"event_type":"guild.join","check_type":"single","community_id":"a.b",` + data + `"work"}}`,
		`{"event_type":"guild.join","community_id":"comm_1",` + data + `"work"`,
		`{"event_type":"guild.join","community_id":"comm_1","community_id":"x",` + data + `"work"}}`,
		`{"event_type":7,"community_id":"comm_1",` + data + `7}}`,
		`{"community_id":"comm_1","data":{"interaction_token":` + markBody + `}}`,
		`{"community_id":"comm_1","data":"` + markBody + `"}`,
		markBody, `"` + markBody + `"`, `{"x":"` + markBody, `{"x":"` + markBody + "\x00\xff", "",
		`{"community_id":"comm_1",` + data + `"work"},"x":"` + strings.Repeat("x", 70_000) + `"}`,
	}
	for kind := range contract.Kind(contract.NumKinds) {
		if kind.Route().HTTPPath == "" {
			continue // arrakis alone stores such messages
		}
		url := s.ingress + kind.Route().HTTPPath
		for _, body := range bodies {
			s.request(t, http.MethodPost, url, body, "Authorization", "Bearer "+markNext, "Prefer", "respond-async")
		}
		s.request(t, http.MethodPost, url, bodies[0], "Authorization", "Bearer "+markIngress, "Content-Type", "text/plain")
		s.request(t, http.MethodGet, url, "", "Authorization", "Bearer "+markIngress)
		for _, token := range []string{"", "Bearer " + markWrong, "Basic " + markIngress, "Bearer " + markAdmin, "Bearer " + markView, "Bearer " + markNamed} {
			if code := s.request(t, http.MethodPost, url, bodies[0], "Authorization", token); code != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", url, token, code)
			}
		}
	}
	for _, path := range []string{"/", "/healthz", "/health", "/readyz", "/ready", "/openapi.json", "/metrics", "/v1/tenants", "/debug/pprof/cmdline"} {
		s.request(t, http.MethodGet, s.ingress+path, "", "Authorization", "Bearer "+markIngress)
	}
	for _, command := range []string{"work", "fails"} {
		s.request(t, http.MethodPost, s.ingress+"/v1/commands", `{"community_id":"comm_1",`+data+`"`+command+`"}}`, "Authorization", "Bearer "+markIngress)
	}
}

// useOps uses every path of the ops address.
func (s *site) useOps(t *testing.T) {
	t.Helper()
	requests := adminRequests(t)
	for _, path := range []string{
		"/", "/healthz", "/health", "/readyz", "/ready", "/metrics", "/openapi.json", "/debug/vars", "/debug/pprof/", "/debug/pprof/cmdline",
		"/debug/pprof/symbol", "/debug/pprof/heap", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/goroutine?debug=2",
		"/debug/pprof/threadcreate?debug=1", "/debug/pprof/block?debug=1", "/debug/pprof/mutex?debug=1", "/debug/pprof/profile?seconds=1",
		"/debug/pprof/trace?seconds=1",
	} {
		requests = append(requests, "GET "+path)
	}
	for _, request := range requests {
		method, path, _ := strings.Cut(request, " ")
		url, body := s.ops+path, ""
		switch {
		case method == http.MethodPut && strings.Contains(path, "/flags/"):
			body = `{"enabled":true}`
		case method == http.MethodPut, method == http.MethodPatch:
			body = `{"tier":"pro"}`
		}
		if code := s.request(t, method, url, body, "Authorization", "Bearer "+markAdmin); code == http.StatusUnauthorized || code == http.StatusForbidden {
			t.Errorf("%s with the token: %d", request, code)
		}
		s.request(t, method, url, `{"x":1`, "Authorization", "Bearer "+markAdmin)
		s.request(t, method, url, body, "Authorization", "Bearer "+markNamed)
		guarded := strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/debug/pprof/")
		for _, token := range []string{"", "Bearer " + markWrong, "Bearer " + markIngress} {
			if code := s.request(t, method, url, body, "Authorization", token); guarded && code != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", request, token, code)
			}
		}
		for _, header := range [][2]string{{"Host", "evil.example"}, {"Origin", "https://evil.example"}} {
			if code := s.request(t, method, url, body, "Authorization", "Bearer "+markAdmin, header[0], header[1]); guarded && code != http.StatusForbidden {
				t.Errorf("%s with a foreign %s: %d", request, header[0], code)
			}
		}
	}
}

// answerCommands handles the command work, and fails the command fails.
func (s *site) answerCommands(t *testing.T) {
	t.Helper()
	for command, reply := range map[string]*nats.Msg{
		"work":  {Data: []byte(`"done"`)},
		"fails": {Header: nats.Header{"Nats-Service-Error-Code": {"500"}, "Nats-Service-Error": {"failed"}}},
	} {
		_, err := s.nc.Subscribe("handlers.command."+command, func(m *nats.Msg) { _ = m.RespondMsg(reply) }) // the sender sees what is missing
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// publishBad puts messages on NATS that no ingress has checked.
func (s *site) publishBad(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := testserver.JetStream(t, s.nc)
	for _, body := range []string{
		markBody, `{"interaction_token":"` + markBody + `"}`, `{"event_id":"e","event_type":"t","guild_id":".","data":{"interaction_token":"` + markBody + `"}}`,
		`{"event_id":"e","event_type":"t","guild_id":"g","data":{"interaction_token":` + markBody + `}}`,
		`{"event_id":"e","event_type":"t","guild_id":"g","data":{"interaction_token":"` + markBody + `"`,
	} {
		if _, err := js.Publish(t.Context(), "commands.interaction", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "the bad messages are dead letters", func() bool {
		return strings.Count(s.command(t, "dlq", "list", "--json", "--reason=malformed").stdout, `"seq"`) >= 4
	})
	return js
}

// hearDeadLetters listens to the headers of all dead letters, and to their bodies, which may hold a user's token and
// nothing else.
func (s *site) hearDeadLetters(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			continue // replayed or purged
		}
		for name, values := range m.Header {
			s.heard(m.Subject+" "+name, strings.Join(values, " "), false)
		}
		s.heard(m.Subject, string(m.Data), true)
	}
}

// outages takes Redis and NATS away and gives them back, while everybody asks.
func (s *site) outages(t *testing.T) {
	t.Helper()
	ask := func(lines ...string) {
		s.request(t, http.MethodPost, s.ingress+"/v1/commands", `{"community_id":"comm_9","data":{"command_name":"work"}}`, "Authorization", "Bearer "+markNext, "Prefer", "respond-async")
		s.request(t, http.MethodGet, s.ops+"/readyz", "")
		s.request(t, http.MethodGet, s.ops+"/v1/tenants", "", "Authorization", "Bearer "+markAdmin)
		s.request(t, http.MethodGet, s.ops+"/v1/deadletters", "", "Authorization", "Bearer "+markAdmin)
		for _, line := range lines {
			s.command(t, strings.Fields(line)...)
		}
	}
	s.redis.Kill()
	ask("usage comm_1", "tenant list", "reload")
	s.redis.Start()
	s.nats.Stop()
	ask("provision", "send comm_1 work --wait 200ms", "dlq list")
	s.nats.Start()
	s.awaitReady(t)
}

// refusals starts commands whose secrets NATS and Redis refuse, and commands whose settings are wrong.
func (s *site) refusals(t *testing.T) {
	t.Helper()
	wrong := maps.Clone(s.env)
	wrong["REDIS_URL"] = strings.Replace(s.env["REDIS_URL"], markRedis, markWrong, 1)
	wrong["NATS_URL"], wrong["NATS_TOKEN"], wrong["NATS_CREDS"], wrong["NATS_NKEY"] = s.nats.URL(), markWrong, "", ""
	for _, change := range []environment{
		{},
		{"REDIS_URL": "redis://arrakis:" + markWrong + "@" + s.redis.Addr() + "/x"},
		{"REDIS_URL": "redis://" + markWrong + "@:x"},
		{"REDIS_URL": markWrong},
		{"NATS_URL": "nats://u:" + markWrong + "@h", "NATS_TOKEN": markWrong},
		{"NATS_URL": "http://u:" + markWrong + "@h:x"},
		{"INGRESS_TOKEN": markWrong + " b", "ADMIN_TOKEN": markWrong + ",,", "VIEW_TOKEN": markWrong + "é"},
		{"INGRESS_TOKEN": "x", "ADMIN_TOKEN": markWrong, "VIEW_TOKEN": markWrong},
		{"INGRESS_TOKEN": "x", "ADMIN_TOKENS": "ada=all:" + markWrong + ",bob=all:" + markWrong},
		{"INGRESS_TOKEN": "x", "ADMIN_TOKENS": markWrong},
		{"INGRESS_TOKEN": "x", "ADMIN_TOKENS": "ada=" + markWrong + ":all"},
		{"INGRESS_AUTH": markWrong},
		{"POSTGRES_URL": markWrong},
		{"POSTGRES_URL": "postgres://u:" + markWrong + "@127.0.0.1:1/x"},
		{"POSTGRES_URL": "postgres://u:" + markWrong + "@:x:/%zz?sslmode=" + markWrong},
		{"HTTP_TLS_KEY": "-----BEGIN PRIVATE KEY-----\n" + markWrong, "HTTP_TLS_CERT": os.Args[0]},
	} {
		env := maps.Clone(wrong)
		maps.Copy(env, change)
		real := s.env
		s.env = env
		s.command(t, "usage", "comm_1")
		s.command(t, "provision")
		s.command(t, "migrate", "status")
		if len(change) > 0 {
			s.command(t, "serve")
		}
		s.env = real
	}
	wrong["INGRESS_TOKEN"], wrong["HTTP_ADDR"], wrong["OPS_ADDR"], wrong["LOG_LEVEL"] = markIngress, "127.0.0.1:0", "127.0.0.1:0", "debug"
	b := start(t, wrong, "serve")
	testserver.Eventually(t, "serve says that it waits", func() bool {
		log := b.stderr.String()
		return strings.Contains(log, "Authorization Violation") && strings.Contains(log, "WRONGPASS")
	})
	b.stop()
	b.exit(t)
	s.heard("serve with wrong secrets", b.stdout.String()+b.stderr.String(), false)
}

// TestMarkedSecrets gives a worker a marked secret for everything, uses every command, endpoint and error, and looks
// for the marks in all that comes out: standard output and error, the log at level debug, answers with their headers,
// metrics, profiles, and the headers of dead letters. What ps(1) shows of a command line, and what the environment of a
// process holds, are the operator's.
func TestMarkedSecrets(t *testing.T) {
	t.Parallel()
	all := identities(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, all[name])
			s.answerCommands(t)
			if name == "user" { // the others differ only in how they connect
				s.useIngress(t)
				js := s.publishBad(t)
				s.hearDeadLetters(t, js)
				s.useCommands(t)
				s.useOps(t)
				s.hearDeadLetters(t, js)
				if len(s.said) < 300 {
					t.Errorf("only %d statements were looked at", len(s.said))
				}
			}
			s.refusals(t)
			s.outages(t)
			s.stop(t)
			s.wantNoMarks(t)
		})
	}
}

// TestMarkedSecretsInDev is the same for `arrakis dev`, which prints a banner.
func TestMarkedSecretsInDev(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--ingress-token="+markIngress+","+markNext, "--admin-token="+markAdmin, "--log-level=debug")
	for _, url := range []string{d.ingress + "/v1/commands", d.ops + "/v1/reload"} {
		if r := do(t, d.client, http.MethodPost, url, `{}`); r.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", url, r.status)
		}
	}
	d.stop()
	d.exit(t)
	if said := d.stdout.String() + d.stderr.String(); strings.Contains(said, "MARK") {
		t.Errorf("a secret is in: %s", said)
	}
}
