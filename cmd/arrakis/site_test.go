package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
)

// Marks are secrets of a site. They must not be found in anything that it says.
const (
	markIngress = "MARKingresstoken"
	markNext    = "MARKnexttoken"
	markAdmin   = "MARKadmintoken"
	markView    = "MARKviewtoken"
	markNamed   = "MARKnamedtoken"
	markRedis   = "MARKredispassword"
	markSQL     = "MARKpostgrespassword"
	markWrong   = "MARKwrongtoken" // sent by a client that mistook one secret for another
	// markBody is a user's interaction token. It is in the messages, and so in the bodies of dead letters, which are kept
	// and shown as they came; nothing else may hold it.
	markBody = "MARKinteractiontoken"
)

// statement is something that a site said.
type statement struct {
	where, text string
	letters     bool // it shows the bodies of dead letters
}

// site is a worker process that has a secret for everything: TLS on both addresses, tokens, and NATS and Redis that let
// in nobody else. Its secrets are flags, so that they are in its command line too.
type site struct {
	nats    *testserver.NATSServer
	redis   *testserver.RedisServer
	nc      *nats.Conn
	env     environment // of commands that work on the same servers
	process *exec.Cmd
	output  testserver.Output // of the process
	ingress string            // URLs
	ops     string
	client  *http.Client
	secrets []string
	said    []statement
}

func newSite(t *testing.T, id identity) *site {
	t.Helper()
	s := &site{nats: testserver.NATS(t, id.server), redis: testserver.Redis(t, redisUser(t, markRedis)...)}
	s.secrets = append([]string{markIngress, markNext, markAdmin, markView, markNamed, markRedis, markSQL, markWrong, "PRIVATE KEY"}, id.secrets...)
	s.env = id.with(s.nats)
	s.env["REDIS_URL"] = "redis://arrakis:" + markRedis + "@" + s.redis.Addr()
	s.env["POSTGRES_URL"] = postgresAs(t, markSQL)
	var err error
	settings := natsSettings{URL: s.env["NATS_URL"], Creds: s.env["NATS_CREDS"], NKey: s.env["NATS_NKEY"], Token: s.env["NATS_TOKEN"]}
	s.nc = testserver.ConnectNATS(t, settings.URL, append(settings.options(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)

	ca := testserver.NewCA(t)
	cert, key := ca.Issue(t.TempDir(), "server")
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	s.secrets = append(s.secrets, strings.Split(string(text), "\n")[1]) // the first line of the key itself
	s.client = tlsClient(t, ca, ca.Client("client"))
	args := []string{
		"serve", "--http-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--ingress-token=" + markIngress + "," + markNext, "--admin-token=" + markAdmin,
		"--view-token=" + markView, "--admin-tokens=ada=limits:" + markNamed,
		"--http-tls-cert=" + cert, "--http-tls-key=" + key, "--ops-tls-cert=" + cert, "--ops-tls-key=" + key, "--ops-tls-client-ca=" + ca.File,
		"--log-level=debug", "--max-attempts=1",
	}
	for name, value := range s.env {
		args = append(args, "--"+strings.ToLower(strings.ReplaceAll(name, "_", "-"))+"="+value)
	}
	s.process = exec.Command(os.Args[0], args...)
	s.process.Env = append(os.Environ(), asArrakis+"=1")
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.process.Process.Kill() // it may have ended
		_ = s.process.Wait()
		if t.Failed() {
			t.Log(s.output.String())
		}
	})
	s.awaitReady(t)
	return s
}

// postgresAs is the URL of a new database, with a password, which the server does not look at.
func postgresAs(t *testing.T, password string) string {
	t.Helper()
	u, err := url.Parse(testserver.PostgresDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

// awaitReady waits until the process listens, and is ready.
func (s *site) awaitReady(t *testing.T) {
	t.Helper()
	listening := regexp.MustCompile(`"msg":"listening","http":"([^"]+)","ops":"([^"]+)"`)
	var m []string
	testserver.Eventually(t, "serve listens", func() bool {
		m = listening.FindStringSubmatch(s.output.String())
		return m != nil
	})
	s.ingress, s.ops = "https://"+m[1], "https://"+m[2]
	testserver.Eventually(t, "serve is ready", func() bool { return ready(t, s.client, s.ops) })
}

// stop ends the process as an orchestrator does, and keeps what it has written.
func (s *site) stop(t *testing.T) {
	t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.process.Wait(); err != nil {
		t.Errorf("serve: %v", err)
	}
	s.heard("output of serve", s.output.String(), false)
}

func (s *site) heard(where, text string, letters bool) {
	s.said = append(s.said, statement{where, text, letters})
}

// wantNoMarks looks for the secrets in all that was said.
func (s *site) wantNoMarks(t *testing.T) {
	t.Helper()
	for _, said := range s.said {
		for _, secret := range s.secrets {
			if i := strings.Index(said.text, secret); i >= 0 {
				t.Errorf("%s holds the secret %.30s: …%q…", said.where, secret, said.text[max(0, i-100):min(len(said.text), i+100)])
			}
		}
		if i := strings.Index(said.text, markBody); i >= 0 && !said.letters {
			t.Errorf("%s holds a user's token: …%q…", said.where, said.text[max(0, i-100):min(len(said.text), i+100)])
		}
	}
}

// command runs a command of the command line with the site's settings.
func (s *site) command(t *testing.T, line ...string) result {
	t.Helper()
	r := arrakis(t, s.env, line...)
	where := "arrakis " + strings.Join(line, " ")
	s.heard("standard output of "+where, r.stdout, line[0] == "dlq" && line[1] != "purge" && line[1] != "replay")
	s.heard("standard error of "+where, r.stderr, false)
	return r
}

// request is one request to the site, by method, URL, body, and headers as name, value pairs.
func (s *site) request(t *testing.T, method, url, body string, headers ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // some answers are streams
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	q.Host = q.Header.Get("Host")
	r, err := s.client.Do(q)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
		return 0
	}
	defer r.Body.Close() //nolint:errcheck // only read
	answer, _ := io.ReadAll(r.Body)
	if unzipped, err := gzip.NewReader(bytes.NewReader(answer)); err == nil { // a profile
		answer, _ = io.ReadAll(unzipped)
	}
	s.heard(method+" "+url, fmt.Sprintf("%s %v %s", r.Status, r.Header, answer), strings.Contains(url, "/v1/deadletters"))
	return r.StatusCode
}

// leaves are all commands of the command line, such as "tenant get".
func leaves(t *testing.T) []string {
	t.Helper()
	var names []string
	p := process{lookupEnv: environment(nil).lookup, stdout: t.Output(), stderr: t.Output()}
	for _, leaf := range newParser(new(commands), new(faults), p, func() {}).Model.Leaves(true) {
		names = append(names, strings.TrimPrefix(leaf.Path(), "arrakis "))
	}
	slices.Sort(names)
	return names
}

// adminRequests are the requests of the admin API, such as "GET /v1/tenants/comm_1", as its package comment lists them.
func adminRequests(t *testing.T) []string {
	t.Helper()
	doc, err := os.ReadFile("../../pipeline/http/admin/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var requests []string
	parameters := strings.NewReplacer("/tenants/{id}", "/tenants/comm_1", "/accounts/{id}", "/accounts/acme", "/flags/{id}", "/flags/f1", "{seq}", "1", "[", "", "]", "", "{action}", "command")
	for _, m := range regexp.MustCompile(`(?m)^//\t([A-Z, ]+?) +(/v1/\S+)`).FindAllSubmatch(doc, -1) {
		if string(m[2]) == "/v1/stream" {
			continue // it does not end; it shows what /v1/fleet does
		}
		for method := range strings.SplitSeq(string(m[1]), ", ") {
			requests = append(requests, method+" "+parameters.Replace(string(m[2])))
		}
	}
	if len(requests) < 10 {
		t.Fatalf("only %d requests in the package comment of admin", len(requests))
	}
	return requests
}
