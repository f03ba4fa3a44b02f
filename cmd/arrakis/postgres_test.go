package main

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/record"
)

// await runs the command until its output has the text want, with one space between words.
func await(t *testing.T, env environment, want string, args ...string) {
	t.Helper()
	testserver.Eventually(t, want, func() bool { return strings.Contains(spoken(arrakis(t, env, args...)), want) })
}

// TestServeWithPostgres: what is set over the admin API is in force, while PostgreSQL is away nothing can be set and all
// goes on as before, and when it is back tenants are set again.
func TestServeWithPostgres(t *testing.T) {
	t.Parallel()
	server, redis, postgres := testserver.NATS(t), testserver.Redis(t), testserver.Postgres(t, "fsync=off")
	env := serveEnv(server.URL(), redis.Addr())
	env["POSTGRES_URL"] = postgres.URL()
	proxy, ofWorker := testserver.Proxy(t, postgres.Addr()), maps.Clone(env)
	ofWorker["POSTGRES_URL"] = strings.Replace(postgres.URL(), postgres.Addr(), proxy.Addr(), 1)
	b := start(t, ofWorker, "serve")
	ingress, ops := addresses(t, b)
	client, nc := newClient(t), server.Connect(t)
	if _, err := nc.Subscribe("handlers.command.tier", func(m *nats.Msg) { _ = m.Respond([]byte(`"` + m.Header.Get("Arrakis-Tier") + `"`)) }); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
	tierIs := func(want string) {
		t.Helper()
		testserver.Eventually(t, "the community is handled as "+want, func() bool {
			r := do(t, client, http.MethodPost, ingress+"/v1/commands", `{"community_id":"acme","data":{"command_name":"tier"}}`)
			return r.status == http.StatusOK && strings.Contains(string(r.body), `"result":"`+want+`"`)
		})
	}
	set := func(tier string) response {
		t.Helper()
		return do(t, client, http.MethodPut, ops+"/v1/tenants/acme", `{"tier":"`+tier+`"}`)
	}
	tierIs("free")
	testserver.Eventually(t, "the worker has taken PostgreSQL into use", func() bool { return set("pro").status == http.StatusCreated })
	tierIs("pro")

	postgres.Kill()
	testserver.Eventually(t, "/readyz says what is away", func() bool {
		r := do(t, client, http.MethodGet, ops+"/readyz", "")
		if r.status != http.StatusOK {
			t.Errorf("/readyz: status %d, %s", r.status, r.body)
		}
		return strings.Contains(string(r.body), `"status":"degraded"`) && strings.Contains(string(r.body), "PostgreSQL does not answer")
	})
	r := set("enterprise")
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || !strings.Contains(string(r.body), "postgres-away") {
		t.Errorf("set without PostgreSQL: status %d, %v, %s", r.status, r.header, r.body)
	}
	if strings.Contains(string(r.body), proxy.Addr()) {
		t.Errorf("the answer says where PostgreSQL is: %s", r.body)
	}
	tierIs("pro")
	await(t, env, "degraded: postgres: PostgreSQL does not answer", "status")
	if r := arrakis(t, env, "tenant", "get", "acme"); r.code != exitDone || !strings.Contains(r.stdout, "pro") {
		t.Errorf("tenant get without PostgreSQL: %+v", r)
	}
	if r := arrakis(t, env, "tenant", "set", "acme", "--tier=free"); r.code != exitFailed || !strings.Contains(r.stderr, "nothing can be changed until it is back") {
		t.Errorf("tenant set without PostgreSQL: %+v", r)
	}

	postgres.Start()
	testserver.Eventually(t, "tenants can be set again", func() bool { return set("enterprise").status == http.StatusOK })
	tierIs("enterprise")
	await(t, env, "tier: pro → enterprise", "audit", "acme")

	proxy.Stall() // as a server that is frozen
	testserver.Eventually(t, "/readyz says what does not answer", func() bool {
		r := do(t, client, http.MethodGet, ops+"/readyz", "")
		if r.status != http.StatusOK {
			t.Fatalf("/readyz: status %d, %s", r.status, r.body)
		}
		return strings.Contains(string(r.body), "PostgreSQL does not answer")
	})
	tierIs("enterprise")
	proxy.Resume()
}

// TestMoveThereAndBack: tenants go from Redis to PostgreSQL and back, with what the commands say at each step.
func TestMoveThereAndBack(t *testing.T) {
	t.Parallel()
	m := testserver.Redis(t)
	alone := environment{"REDIS_URL": "redis://" + m.Addr()}
	both := environment{"REDIS_URL": "redis://" + m.Addr(), "POSTGRES_URL": testserver.PostgresDatabase(t)}
	rdb := m.Client(t)
	for _, tt := range []struct {
		env     environment
		command string
		code    int
		want    string // in the output
	}{
		{alone, "tenant set c1 --tier pro", exitDone, "tier pro"},
		{alone, "flag set beta --on", exitDone, "enabled on"},
		{alone, "migrate up", exitUsage, "this needs PostgreSQL: set POSTGRES_URL"},
		{both, "migrate status", exitDone, "1 00001_record.sql no: run `arrakis migrate up` "},
		{both, "migrate up", exitDone, "applied 00001_record.sql "},
		{both, "migrate up", exitDone, "nothing to do: the tables are as this release needs them "},
		{both, "migrate up --json", exitDone, `{ "applied": [] }`},
		{both, "tenant set c1 --tier free", exitFailed, "PostgreSQL has no tenants yet. If Redis has some, run `arrakis tenant move --from redis --to postgres`"},
		{both, "tenant move --from redis --to redis", exitUsage, "--from and --to are the same"},
		{both, "tenant move --from postgres --to redis", exitFailed, "PostgreSQL has no tenants yet"},
		{both, "tenant move --from redis --to postgres --dry-run", exitDone, "flag 1 tenant 1 changed 2 that postgres did not have like this deleted 0 that redis does not have nothing is moved yet: leave out --dry-run to do it "},
		{alone, "tenant set c2 --tier pro", exitDone, "tier pro"}, // nothing was moved
		{both, "tenant move --from redis --to postgres", exitDone, "flag 1 tenant 2 changed 3 that postgres did not have like this deleted 0 that redis does not have moved and compared: restart the workers with POSTGRES_URL, one by one "},
		{both, "tenant move --from redis --to postgres", exitFailed, "PostgreSQL has the tenants already; `arrakis tenant reconcile` compares Redis with it"},
		{alone, "tenant set c1 --tier free", exitFailed, "tenants are kept in PostgreSQL: set POSTGRES_URL, as the workers have it"},
		{alone, "tenant get c1", exitDone, "tier pro"},
		{both, "tenant set c1 --tier enterprise", exitDone, "tier enterprise"},
		{both, "audit c1", exitDone, "tier: pro → enterprise"},
		{both, "migrate down --yes", exitFailed, "run `arrakis tenant move --from postgres --to redis` first"},
		{both, "tenant rebuild", exitDone, "Redis has all 3 documents of PostgreSQL"}, // no worker runs, and so an edit may still be on its way
		{both, "tenant reconcile", exitDone, "documents 3 Redis has what PostgreSQL has "},
		{both, "tenant delete c2", exitDone, "deleted c2"},
		{both, "tenant move --from postgres --to redis --dry-run", exitDone, "flag 1 tenant 1 changed 0 that redis did not have like this deleted 0 that postgres does not have nothing is moved yet"},
		{both, "tenant move --from postgres --to redis", exitDone, "moved and compared: restart the workers without POSTGRES_URL, one by one "},
		{both, "tenant move --from postgres --to redis", exitFailed, "the tenants are in Redis already"},
		{both, "tenant set c1 --tier free", exitFailed, "tenants were moved from PostgreSQL to Redis: unset POSTGRES_URL"},
		{alone, "tenant set c1 --tier free", exitDone, "tier free"},
		{alone, "tenant get c2", exitFailed, "not found"},
		{both, "migrate down", exitUsage, "this drops tables, with all that is in them: add --yes to do it"},
		{both, "migrate down --yes", exitDone, "taken back 00001_record.sql "},
		{both, "migrate down --yes", exitDone, "nothing to do: no migration is applied "},
	} {
		r := arrakis(t, tt.env, strings.Fields(tt.command)...)
		if r.code != tt.code || !strings.Contains(spoken(r)+r.stderr, tt.want) {
			t.Errorf("arrakis %s: exit code %d\n%s%s\nwant %d with %q", tt.command, r.code, r.stdout, r.stderr, tt.code, tt.want)
		}
	}
	if n := rdb.Exists(t.Context(), "arrakis:record").Val(); n != 0 {
		t.Error("Redis still says that PostgreSQL has the tenants")
	}
}

// TestReconcile: what somebody has done to Redis by hand is found, and mended as far as asked for; a Redis that was lost is
// filled.
func TestReconcile(t *testing.T) {
	t.Parallel()
	m := testserver.Redis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr(), "POSTGRES_URL": testserver.PostgresDatabase(t)}
	rdb := m.Client(t)
	do := func(code int, want, command string) {
		t.Helper()
		r := arrakis(t, env, strings.Fields(command)...)
		if r.code != code || !strings.Contains(spoken(r)+r.stderr, want) {
			t.Errorf("arrakis %s: exit code %d\n%s%s\nwant %d with %q", command, r.code, r.stdout, r.stderr, code, want)
		}
	}
	do(exitDone, "moved and compared", "tenant move --from redis --to postgres") // of nothing
	for _, id := range []string{"c1", "c2", "c3"} {
		do(exitDone, "tier pro", "tenant set --tier pro "+id)
	}
	ctx := t.Context()
	for _, err := range []error{
		rdb.Del(ctx, "tenant:config:c1").Err(),
		rdb.Set(ctx, "tenant:config:c2", `{"tier":"enterprise"}`, 0).Err(),
		rdb.Set(ctx, "tenant:config:c3", `{"version":9007199254740000,"tier":"enterprise"}`, 0).Err(),
		rdb.Set(ctx, "tenant:config:c4", `{"tier":"enterprise"}`, 0).Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	do(exitFailed, "documents 3 different 1 extra 1 missing 1 newer 1 missing: tenant:config:c1 different: tenant:config:c2 newer: tenant:config:c3 extra: tenant:config:c4 nothing is repaired yet: --repair gives Redis what is missing or older, --force all ", "tenant reconcile")
	do(exitFailed, `"drift": { "different": 1, "extra": 1, "missing": 1, "newer": 1 }, "repaired": 0, "pending": 0`, "tenant reconcile --json")
	do(exitFailed, "repaired 1; --force repairs the other 3 too ", "tenant reconcile --repair")
	do(exitDone, "repaired 3 ", "tenant reconcile --force")
	do(exitDone, "documents 3 Redis has what PostgreSQL has ", "tenant reconcile")
	do(exitDone, "c1 pro 100 1000 10 2 of 4 c2 pro 100 1000 10 2 of 4 c3 pro 100", "tenant list")

	if err := rdb.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	do(exitFailed, "missing 3", "tenant reconcile")
	do(exitDone, "Redis has all 3 documents of PostgreSQL; all workers read theirs again ", "tenant rebuild")
	do(exitDone, "documents 3 Redis has what PostgreSQL has ", "tenant reconcile")
	do(exitDone, `{ "documents": 3 }`, "tenant rebuild --json")

	env["POSTGRES_URL"] = testserver.PostgresDatabase(t) // another one
	do(exitDone, "applied", "migrate up")
	do(exitFailed, "Redis has the tenants of another database", "tenant move --from redis --to postgres")
	do(exitFailed, "Redis has the tenants of another database", "tenant set c1 --tier free")
}

// TestImport: what `tenant list --json` gives, `tenant import` takes, and writes all of it or, if something is wrong, nothing.
func TestImport(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	for _, command := range []string{
		"tenant set c1 --tier pro --commands 7", "tenant set c2 --tier enterprise --mode shadow", "tenant boost c1 --commands=+5 --for=2h",
	} {
		if r := arrakis(t, env, strings.Fields(command)...); r.code != exitDone {
			t.Fatalf("%s: %+v", command, r)
		}
	}
	list := func() string { t.Helper(); return arrakis(t, env, "tenant", "list", "--json").stdout }
	load := func(text string, args ...string) result {
		t.Helper()
		var stdout, stderr testserver.Output
		code := run(t.Context(), append([]string{"tenant", "import", "-"}, args...), process{
			lookupEnv: env.lookup, stdin: strings.NewReader(text), stdout: &stdout, stderr: &stderr,
		})
		return result{code, stdout.String(), stderr.String()}
	}
	before := list()
	m.FlushAll()
	if r := load(before, "--dry-run"); r.code != exitDone || r.stdout != "would write 2 tenants\n" || len(m.Keys()) != 0 {
		t.Errorf("dry run: %+v, and Redis has %v", r, m.Keys())
	}
	if r := load(strings.Replace(before, `"enterprise"`, `"gold"`, 1)); r.code != exitUsage || !strings.Contains(r.stderr, "gold") || len(m.Keys()) != 0 {
		t.Errorf("an unknown tier: %+v, and Redis has %v", r, m.Keys())
	}
	if r := load(before); r.code != exitDone || r.stdout != "wrote 2 tenants\n" {
		t.Errorf("import: %+v", r)
	}
	if r := load(strings.Replace(before, "{", `{"next":"c7",`, 1)); r.code != exitDone || !strings.Contains(r.stdout, "not all tenants of the list: its next page begins at the cursor c7") {
		t.Errorf("import of a page that is not the last: %+v", r)
	}
	if got := list(); unstamped(got) != unstamped(before) {
		t.Errorf("got %s\nwant %s", got, before)
	}
}

// unstamped is a list without what each write changes.
func unstamped(list string) string {
	var kept []string
	for line := range strings.Lines(list) {
		if !strings.Contains(line, `"etag"`) && !strings.Contains(line, `"updatedAt"`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestDriftNamed: a report names some of the documents with drift, and says how many others there are.
func TestDriftNamed(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	out := &table{w: &b}
	driftTable(out, &record.Report{
		Documents: 9, Drift: map[record.Drift]int{record.DriftMissing: 3},
		Named: []record.Named{{Document: "tenant:config:c1", Drift: record.DriftMissing}},
	}, record.RepairNone)
	out.flush()
	if got := b.String(); !strings.Contains(got, "missing: tenant:config:c1\n           and 2 more\n") {
		t.Errorf("it is\n%s", got)
	}
}
