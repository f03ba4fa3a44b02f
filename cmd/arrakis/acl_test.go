package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
)

// documentedUser are the rules of docs/security.md for a user of Redis, or of its sentinels, with a password.
func documentedUser(t *testing.T, name, password string) []string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(string(doc), "\n    user "+name+" ")
	rules, _, found := strings.Cut(rules, "\n\n")
	if !found {
		t.Fatalf("docs/security.md has no rules for the user %s", name)
	}
	return append([]string{name}, strings.Fields(strings.Replace(rules, ">PASSWORD", ">"+password, 1))...)
}

// redisUser are the arguments of redis-server that make the documented user.
func redisUser(t *testing.T, password string) []string {
	t.Helper()
	return append([]string{"--user"}, documentedUser(t, "arrakis", password)...)
}

// addUser adds a documented user to a server that runs.
func addUser(t *testing.T, s *testserver.RedisServer, name, password string) {
	t.Helper()
	command := []any{"ACL", "SETUSER"}
	for _, word := range documentedUser(t, name, password) {
		command = append(command, word)
	}
	if err := s.Client(t).Do(t.Context(), command...).Err(); err != nil {
		t.Fatal(err)
	}
}

// wantAllowed fails the test if the server has refused anything to its users, also if nobody noticed.
func wantAllowed(t *testing.T, s *testserver.RedisServer) {
	t.Helper()
	denied, err := s.Client(t).ACLLog(t.Context(), 100).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range denied {
		t.Errorf("docs/security.md does not allow %s a %s %q (in %s; %s)", d.Username, d.Reason, d.Object, d.Context, d.ClientInfo.LastCmd)
	}
}

// TestRedisUserMayRunScripts: the rules allow what the scripts call, also where no test of this package makes them call
// it.
func TestRedisUserMayRunScripts(t *testing.T) {
	t.Parallel()
	rules := documentedUser(t, "arrakis", "pw")
	err := fs.WalkDir(os.DirFS("../.."), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".lua" || strings.HasPrefix(path, "loadtest/") {
			return err
		}
		text, err := os.ReadFile(filepath.Join("../..", path))
		missing := map[string]bool{}
		for _, m := range regexp.MustCompile(`redis\.p?call\('(\w+)'`).FindAllSubmatch(text, -1) {
			if rule := "+" + strings.ToLower(string(m[1])); !slices.Contains(rules, rule) && !missing[rule] {
				missing[rule] = true
				t.Errorf("docs/security.md has no rule %s, which %s needs", rule, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withRedisUser starts the Redis of each kind with the documented users, and returns its URL and its servers.
var withRedisUser = map[string]func(*testing.T) (url string, servers []*testserver.RedisServer){
	"single": func(t *testing.T) (string, []*testserver.RedisServer) {
		t.Helper()
		s := testserver.Redis(t, redisUser(t, "pw")...)
		return "redis://arrakis:pw@" + s.Addr(), []*testserver.RedisServer{s}
	},
	"cluster": func(t *testing.T) (string, []*testserver.RedisServer) {
		t.Helper()
		masters := testserver.Cluster(t, 3)
		var addrs []string
		for _, m := range masters {
			addUser(t, m, "arrakis", "pw")
			addrs = append(addrs, m.Addr())
		}
		return "redis://arrakis:pw@" + strings.Join(addrs, ","), masters
	},
	"sentinel": func(t *testing.T) (string, []*testserver.RedisServer) {
		t.Helper()
		master := testserver.Redis(t, redisUser(t, "pw")...)
		sentinel := testserver.Sentinel(t, "main", master)
		addUser(t, sentinel, "arrakis-sentinel", "spw")
		url := "redis+sentinel://arrakis:pw@" + sentinel.Addr() + "/main?sentinel_username=arrakis-sentinel&sentinel_password=spw"
		return url, []*testserver.RedisServer{master, sentinel}
	},
}

// TestRedisUser runs a worker, and every command that works on Redis, as the users of docs/security.md: on a single
// server, a cluster, and behind a Sentinel. The rules must suffice.
func TestRedisUser(t *testing.T) {
	t.Parallel()
	for kind, servers := range withRedisUser {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			url, all := servers(t)
			natsServer := testserver.NATS(t)
			env := serveEnv(natsServer.URL(), "")
			env["REDIS_URL"], env["POSTGRES_URL"] = url, testserver.PostgresDatabase(t)
			_, err := natsServer.Connect(t).Subscribe("handlers.command.work", func(m *nats.Msg) { _ = m.Respond([]byte("{}")) })
			if err != nil {
				t.Fatal(err)
			}
			b := start(t, env, "serve", "--tenant-cache-ttl=10ms", "--reload-poll-interval=100ms")
			ingress, ops := addresses(t, b)
			client := newClient(t)
			testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
			for i := range 30 {
				body := fmt.Sprintf(`{"community_id":"comm_1","user_id":"42","event_id":"e%d","data":{"command_name":"work"}}`, i/2)
				do(t, client, http.MethodPost, ingress+"/v1/commands", body)
			}
			for _, leaf := range leaves(t) {
				if !strings.Contains(arrakis(t, nil, append(strings.Fields(leaf), "--help")...).stdout, "$REDIS_URL") || leaf == "serve" {
					continue
				}
				for _, line := range commandLines[leaf] {
					arrakis(t, env, append(strings.Fields(leaf), strings.Fields(line)...)...)
				}
			}
			for _, request := range adminRequests(t) {
				method, path, _ := strings.Cut(request, " ")
				for _, body := range []string{"", `{"tier":"pro"}`, `{"enabled":true}`, `{"rateLimits":{"userCommandsPerMinute":5}}`} {
					do(t, client, method, ops+path, body)
				}
			}
			if r := do(t, client, http.MethodGet, ops+"/readyz", ""); !strings.Contains(string(r.body), `"redis":{"status":"ok"}`) {
				t.Errorf("/readyz: %s", r.body)
			}
			for _, s := range all {
				wantAllowed(t, s)
			}
			b.stop()
			b.exit(t)
		})
	}
}
