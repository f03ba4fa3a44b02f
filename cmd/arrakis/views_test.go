package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/tenant"
)

// compact is a JSON document without the spaces that make it easy to read.
func compact(t *testing.T, document string) string {
	t.Helper()
	v := jsontext.Value(document)
	if err := v.Compact(); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	return string(v)
}

// printed is what a command prints with --json.
func (d *devProcess) printed(t *testing.T, command string) string {
	t.Helper()
	r := arrakis(t, d.env(), append(strings.Fields(command), "--json")...)
	if r.code != exitDone {
		t.Fatalf("%s: %+v", command, r)
	}
	return compact(t, r.stdout)
}

// answered is the body of the admin API's answer, which must be a success.
func (d *devProcess) answered(t *testing.T, request, body string) string {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r := do(t, d.client, method, d.ops+path, body)
	if r.status >= http.StatusMultipleChoices {
		t.Fatalf("%s: %d %s", request, r.status, r.body)
	}
	return compact(t, string(r.body))
}

// storeForeign stores documents as other writers would: with members that arrakis does not know, and some that it
// cannot use.
func storeForeign(t *testing.T, redisURL string) {
	t.Helper()
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(o)
	defer rdb.Close() //nolint:errcheck // nothing is pending
	for key, document := range map[string]string{
		"a_foreign": `{"communityId":"c1","guildId":"g1","tier":"pro","features":{"customBranding":false,"zeal":1},"rateLimits":{"commandsPerMinute":7,"x":2},"onLimit":{"command":"delay","zeal":2},"maxDelayed":5,"weight":9,"billing":{"plan":"<p>"}}`,
		"a_bad":     `{"tier":"gold"}`,
		"a_member":  `{"tier":"free","account":"acme","billing":1}`,
	} {
		if err := rdb.Set(t.Context(), "tenant:config:"+key, document, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	account := `{"name":"<b>Acme","tier":"pro","counted":"together","features":{"zeal":1},"billing":{"plan":"<p>"}}`
	if err := rdb.Set(t.Context(), "account:config:acme", account, 0).Err(); err != nil {
		t.Fatal(err)
	}
	err = rdb.HSet(t.Context(), "arrakis:flags",
		"f.foreign", `{"id":"f.foreign","enabled":true,"tiers":["pro"],"rolloutPercent":12.5,"communities":{"include":["c1"]},"owner":"x"}`,
		"f.bad", `{`).Err()
	if err != nil {
		t.Fatal(err)
	}
}

// TestViewsAlike holds the command line and the admin API to one document for a tenant, a flag and a dead letter, and
// for the lists of them.
func TestViewsAlike(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	storeForeign(t, d.env()["REDIS_URL"])
	_, js := d.connect(t)
	for _, body := range []string{"{", "<&>", "\xff"} {
		if _, err := js.Publish(t.Context(), "commands.interaction", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "the bad messages are listed", func() bool { l, _ := listLetters(t, d.env()); return len(l) == 3 })
	for command, request := range map[string]string{
		"tenant get a_foreign":                    "GET /v1/tenants/a_foreign",
		"tenant get comm_000":                     "GET /v1/tenants/comm_000",
		"tenant list --limit=3":                   "GET /v1/tenants?limit=3",
		"tenant list":                             "GET /v1/tenants?limit=1000",
		"account get acme":                        "GET /v1/accounts/acme",
		"account list":                            "GET /v1/accounts",
		"account communities acme":                "GET /v1/accounts/acme/communities",
		"flag get f.foreign":                      "GET /v1/flags/f.foreign",
		"flag list":                               "GET /v1/flags",
		"dlq list --limit=1":                      "GET /v1/deadletters?limit=1",
		"dlq list --limit=1 --cursor=1":           "GET /v1/deadletters?limit=1&cursor=1",
		"dlq list --stream=COMMANDS":              "GET /v1/deadletters?stream=COMMANDS",
		"dlq list --stream=EVENTS --reason=panic": "GET /v1/deadletters?stream=EVENTS&reason=panic",
		"audit --limit=3":                         "GET /v1/audit?limit=3",
		"audit --target=comm_007 --type=tenant":   "GET /v1/audit?limit=1000&target=comm_007&type=tenant",
		"usage comm_000":                          "GET /v1/tenants/comm_000/usage",
		"reset comm_000 command":                  "DELETE /v1/tenants/comm_000/usage/command",
		"reload comm_000":                         "POST /v1/reload?community=comm_000",
	} {
		if diff := cmp.Diff(d.answered(t, request, ""), d.printed(t, command)); diff != "" {
			t.Errorf("%s (-admin API +command line)\n%s", command, diff)
		}
	}
}

// TestDeadLetterAlike: dlq show adds the headers to the entry of the list.
func TestDeadLetterAlike(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	_, js := d.connect(t)
	storeDeadLetter(t, js, contract.StreamEvents, contract.ReasonPanic, map[string]string{contract.HeaderError: "a <b>"}, "\xff")
	var shown deadletter.Entry
	if err := json.Unmarshal([]byte(d.printed(t, "dlq show 1")), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Headers[contract.HeaderError][0] != "a <b>" {
		t.Errorf("headers %v", shown.Headers)
	}
	shown.Headers = nil
	want, err := json.Marshal(map[string]any{"deadletters": []deadletter.Entry{shown}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), d.answered(t, "GET /v1/deadletters", "")); diff != "" {
		t.Errorf("(-dlq show +admin API)\n%s", diff)
	}
}

// TestShownCanBeGivenBack: what tenant get --json prints is accepted by tenant set --data and by PUT, and both leave
// the tenant as it was.
func TestShownCanBeGivenBack(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	storeForeign(t, d.env()["REDIS_URL"])
	document := d.printed(t, "tenant get a_foreign")
	if strings.Contains(document, "zeal") || strings.Contains(document, "billing") {
		t.Errorf("members of other writers are shown: %s", document)
	}
	set := func(document string) string { return d.printed(t, "tenant set a_foreign --data "+document) }
	put := func(document string) string { return d.answered(t, "PUT /v1/tenants/a_foreign", document) }
	config := func(document string) (c tenant.Config) {
		if err := json.Unmarshal([]byte(document), &c); err != nil {
			t.Fatal(err)
		}
		c.CreatedAt, c.UpdatedAt = time.Time{}, time.Time{} // set by the store
		return c
	}
	for _, give := range []func(string) string{set, put, set} {
		back := give(document)
		if diff := cmp.Diff(config(document), config(back)); diff != "" {
			t.Errorf("(-given +stored)\n%s", diff)
		}
		document = back
	}
	flag := d.printed(t, "flag get f.foreign")
	if diff := cmp.Diff(flag, d.answered(t, "PUT /v1/flags/f.foreign", flag)); diff != "" {
		t.Errorf("(-flag get +PUT)\n%s", diff)
	}
}
