package console

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// put stores a config.
func (b *bed) put(tb testing.TB, id, document string) {
	tb.Helper()
	c, err := tenant.ParseConfig([]byte(document))
	if err != nil {
		tb.Fatal(err)
	}
	if _, _, err := b.store.Put(store.WithOrigin(tb.Context(), store.Origin{Actor: "cli:ada", From: "host"}), id, c, store.PutOptions{}); err != nil {
		tb.Fatal(err)
	}
}

// textOf is a page as it is read: without elements, the spaces made one.
func textOf(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))), " ")
}

// linked returns the addresses of the links whose text is text.
func linked(page, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(`href="([^"]*)"[^>]*>([^<]*)</a>`).FindAllStringSubmatch(page, -1) {
		if m[2] == text {
			found = append(found, html.UnescapeString(m[1]))
		}
	}
	return found
}

// All tenants are on the pages of the list, once, in order, and a search finds those that it should.
func TestTenantsPages(t *testing.T) {
	b := newBed(t)
	const tenants = 120
	for i := range tenants {
		b.put(t, fmt.Sprintf("comm_%03d", i), `{"tier":"pro"}`)
	}
	walk := func(path string) (ids []string, pages int) {
		for path != "" {
			r := b.ask(t, http.MethodGet, path, "")
			if r.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, r.status, r.body)
			}
			for _, m := range regexp.MustCompile(`<tr data-key="([^"]*)">`).FindAllStringSubmatch(r.body, -1) {
				ids = append(ids, m[1])
			}
			path = ""
			if next := linked(r.body, "Next"); len(next) > 0 {
				path = next[0]
			}
			pages++
		}
		return ids, pages
	}
	ids, pages := walk("/tenants")
	for i, id := range ids {
		if want := fmt.Sprintf("comm_%03d", i); id != want {
			t.Fatalf("row %d is %s, want %s", i, id, want)
		}
	}
	if len(ids) != tenants || pages != 3 {
		t.Errorf("%d tenants on %d pages", len(ids), pages)
	}
	if ids, _ := walk("/tenants?q=M_11"); strings.Join(ids, " ") != "comm_110 comm_111 comm_112 comm_113 comm_114 comm_115 comm_116 comm_117 comm_118 comm_119" {
		t.Errorf("M_11 finds %q", ids)
	}
	for q, want := range map[string]string{
		"nobody":  "nobody has no config: it has the free tier",
		"no body": "No ID contains “no body”.",
		"comm_1":  "comm_1 has no config: it has the free tier",
	} {
		if text := textOf(b.ask(t, http.MethodGet, "/tenants?q="+url.QueryEscape(q), "").body); !strings.Contains(text, want) {
			t.Errorf("%q: no %q in %s", q, want, text)
		}
	}
	if r := b.ask(t, http.MethodGet, "/tenants?q=comm_007", ""); strings.Contains(r.body, "has no config") || len(linked(r.body, "comm_007")) != 1 {
		t.Errorf("an exact ID: %s", r.body)
	}
	for _, bad := range []string{"q=" + strings.Repeat("x", 129), "after=%3Cb%3E"} {
		if r := b.ask(t, http.MethodGet, "/tenants?"+bad, ""); r.status != http.StatusBadRequest {
			t.Errorf("%.20s: %d", bad, r.status)
		}
	}
}

// The page of a tenant says what is in force, where it comes from, and what has changed.
func TestTenantPage(t *testing.T) {
	b := newBed(t)
	b.put(t, "comm_7", `{"tier":"pro","mode":"shadow","rateLimits":{"commandsPerMinute":7},"features":{"prioritySupport":true},"guildId":"123456789012345678"}`)
	if _, _, err := b.store.PutFlag(t.Context(), tenant.Flag{ID: "dark.mode", Enabled: true, Communities: tenant.FlagCommunities{Exclude: []string{"comm_7"}}}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	letter := b.storeLetter(t, map[string]string{contract.HeaderSubject: "commands.interaction", contract.HeaderError: evil},
		`{"event_id":"e","event_type":"interaction.create","guild_id":"comm_7","data":{"command_name":"work"}}`)
	r := b.ask(t, http.MethodGet, "/tenants/comm_7", "")
	text := textOf(r.body)
	if strings.Contains(r.body, "<img") || !strings.Contains(r.body, fmt.Sprintf(`href="/deadletters/%d"`, letter)) {
		t.Errorf("its dead letter: %s", r.body)
	}
	for _, want := range []string{
		"pro", "shadow: limits are only counted", "A command, now: It would be handled now",
		"command in 1 min 0 0% 7 this config 100 (default of the tier) – now", "eligibility check in 1 h 0 0% 1,000 default of the tier – – now",
		"prioritySupport on this config off (default of the tier)", "123456789012345678", "dark.mode off the community is excluded", "created", "rateLimits.commandsPerMinute: 7", "cli:ada from host",
		"in none", "panic",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if strings.Contains(text, "Unknown") {
		t.Errorf("the document is not as the API has it: %s", text)
	}
	if etag := b.etag(t, "comm_7"); !strings.Contains(r.body, `data-api="PATCH /v1/tenants/comm_7" data-type="application/merge-patch+json" data-if-match="`+html.EscapeString(etag)+`"`) {
		t.Errorf("the form does not ask for the version that is shown: %s", r.body)
	}
	text = textOf(b.ask(t, http.MethodGet, "/tenants/comm_7?command=work&user=42", "").body)
	if !strings.Contains(text, "work of user 42 , now: It would be handled now") || !strings.Contains(text, "user command in 1 min, of each user 0 – unlimited") {
		t.Errorf("explained for a user: %s", text)
	}
	for _, q := range []string{"command=" + url.QueryEscape(evil), "user=" + url.QueryEscape(evil)} {
		if r := b.ask(t, http.MethodGet, "/tenants/comm_7?"+q, ""); r.status != http.StatusBadRequest || strings.Contains(r.body, "<img") {
			t.Errorf("%s: %d %s", q, r.status, r.body)
		}
	}
	r = b.ask(t, http.MethodGet, "/tenants/nobody", "")
	if !strings.Contains(r.body, `data-api="PUT /v1/tenants/nobody" data-if-none-match="*"`) || !strings.Contains(textOf(r.body), "no config: free tier by default") {
		t.Errorf("a community without a config: %s", r.body)
	}
	if r := b.ask(t, http.MethodGet, "/tenants/"+url.PathEscape("<b>"), ""); r.status != http.StatusBadRequest || strings.Contains(r.body, "<b>") {
		t.Errorf("an ID that is none: %d %s", r.status, r.body)
	}
}

// The page says who decided the tier: a hand, or what was bought. The first can be left to the second.
func TestTenantPageTier(t *testing.T) {
	b := newBed(t)
	if _, err := b.store.PutTiers(t.Context(), tenant.Tiers{SKUs: map[string]tenant.Tier{"77": tenant.Pro}}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	const entitlements = `,"entitlements":{"9":{"sku":"77","endsAt":"2099-01-31T12:00:00Z","at":"2026-01-01T00:00:00Z"}}}`
	b.put(t, "by-hand", `{"tier":"free"`+entitlements)
	b.put(t, "bought", `{"tier":"free","tierFrom":"entitlement"`+entitlements)
	const button, left = "Leave it to what was bought", `<option value="" selected>As bought: pro</option>`
	for _, tt := range []struct {
		id, text     string
		button, left bool
	}{
		{"by-hand", "Tier free, set by hand, over pro from an entitlement: SKU 77, ends 2099-01-31T12:00:00Z", true, false},
		{"bought", "Tier pro from an entitlement: SKU 77, ends 2099-01-31T12:00:00Z", false, true},
		{"nobody", "Tier free", false, false},
	} {
		r := b.ask(t, http.MethodGet, "/tenants/"+tt.id, "")
		if text := textOf(r.body); !strings.Contains(text, tt.text) || strings.Contains(text, button) != tt.button || strings.Contains(r.body, left) != tt.left {
			t.Errorf("%s: no %q, or not: button %t, left %t, in %s", tt.id, tt.text, tt.button, tt.left, text)
		}
	}
	list := textOf(b.ask(t, http.MethodGet, "/tenants", "").body)
	if !strings.Contains(list, "bought pro bought 100") || !strings.Contains(list, "by-hand free 10") {
		t.Errorf("the list: %s", list)
	}
}

// While NATS is away, the page still shows and changes what Redis has.
func TestTenantPageWithoutNATS(t *testing.T) {
	b := newBed(t)
	b.put(t, "comm_7", `{"tier":"pro"}`)
	b.js.Conn().Close()
	r := b.ask(t, http.MethodGet, "/tenants/comm_7", "")
	text := textOf(r.body)
	for _, want := range []string{"command in 1 min 0 0% 100 default of the tier", "NATS does not answer.", "not known: NATS or Redis does not answer"} {
		if r.status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%d, no %q in %s", r.status, want, text)
		}
	}
}

// etag is the version of a stored config.
func (b *bed) etag(tb testing.TB, id string) string {
	tb.Helper()
	_, v, err := b.store.Get(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	return `"` + string(v) + `"`
}

// Documents that other writers have spoiled are text, and can be replaced.
func TestTenantPageOfBadDocument(t *testing.T) {
	b := newBed(t)
	b.set(t, "tenant:config:comm_1", `{"tier":"<img src=x onerror=alert(1)>"}`)
	b.set(t, "tenant:config:comm_2", `{"communityId":"comm_3","tier":"pro","webhook":"s3cret"}`)
	r := b.ask(t, http.MethodGet, "/tenants/comm_1", "")
	if r.status != http.StatusOK || !strings.Contains(r.body, "document cannot be used") || strings.Contains(r.body, "<img") || !strings.Contains(r.body, `data-api="PUT /v1/tenants/comm_1" data-if-match="`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	r = b.ask(t, http.MethodGet, "/tenants/comm_2", "")
	if strings.Contains(r.body, "s3cret") || len(linked(r.body, "comm_3")) == 0 {
		t.Errorf("a config of another community, with members of others: %s", r.body)
	}
	list := b.ask(t, http.MethodGet, "/tenants", "")
	if list.status != http.StatusOK || !strings.Contains(textOf(list.body), "comm_1 cannot be used") || strings.Contains(list.body, "<img") {
		t.Errorf("%d %s", list.status, list.body)
	}
}

func (b *bed) set(tb testing.TB, key, text string) {
	tb.Helper()
	if err := b.redis.Set(tb.Context(), key, text, 0).Err(); err != nil {
		tb.Fatal(err)
	}
}

// Whatever is in the audit log is text, and links only lead to pages of what it names.
func TestChangesOfOthers(t *testing.T) {
	b := newBed(t)
	for _, kind := range []string{"tenant", "reset", "flag", "replay", evil} {
		err := b.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: "arrakis:audit", Values: []any{
			"type", kind, "target", evil, "actor", evil, "from", evil, "request_id", evil, "source", evil, "before", `{"` + "a<b>" + `":"<script>alert(1)</script>"}`, "after", evil, "after_size", "99999",
		}}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/changes", "/changes?target=" + url.QueryEscape(strings.ReplaceAll(evil, "\x00", "")), "/changes?type=tenant", "/changes?target=nobody", "/changes?since=24h", "/changes?since=2000-01-01"} {
		r := b.ask(t, http.MethodGet, path, "")
		if r.status != http.StatusOK || strings.Contains(r.body, "<img") || strings.Contains(r.body, "<script>") || strings.Contains(r.body, "<b>") {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(r.body, -1) {
			if strings.Contains(m[1], "img") {
				t.Errorf("%s: a link to %q", path, m[1])
			}
		}
	}
	if r := b.ask(t, http.MethodGet, "/changes?type=x", ""); r.status != http.StatusBadRequest {
		t.Errorf("an unknown kind: %d", r.status)
	}
	for _, name := range []string{"since", "target"} { // a target has no NUL
		if r := b.ask(t, http.MethodGet, "/changes?"+name+"="+url.QueryEscape(evil), ""); r.status != http.StatusBadRequest || strings.Contains(r.body, "<img") {
			t.Errorf("a %s that is none: %d %s", name, r.status, r.body)
		}
	}
	if r := b.ask(t, http.MethodGet, "/changes?cursor=x", ""); r.status != http.StatusBadRequest {
		t.Errorf("a cursor that is none: %d", r.status)
	}
}

// The pages of the audit log have all changes, the newest first.
func TestChangesPages(t *testing.T) {
	b := newBed(t)
	const all = shownChanges + 20
	for i := range all {
		if err := b.store.NotifyReload(t.Context(), fmt.Sprintf("comm_%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	next, shown := "/changes", all
	for next != "" {
		r := b.ask(t, http.MethodGet, next, "")
		for _, m := range regexp.MustCompile(`href="/tenants/(comm_\d+)"`).FindAllStringSubmatch(r.body, -1) {
			shown--
			if want := fmt.Sprintf("comm_%03d", shown); m[1] != want {
				t.Fatalf("%s, want %s", m[1], want)
			}
		}
		next = ""
		if older := linked(r.body, "Older"); len(older) > 0 {
			next = older[0]
		}
	}
	if shown != 0 {
		t.Errorf("%d changes are not shown", shown)
	}
}

// The cost of a page of the list, and of a search in it, among 100,000 tenants.
func BenchmarkTenantsPage(b *testing.B) {
	rdb := testserver.ConnectRedis(b, testserver.Redis(b).Addr())
	const script = `for i = 0, ARGV[1] - 1 do redis.call('SET', string.format('tenant:config:comm_%06d', i), '{"tier":"pro"}') end`
	const tenants = 100_000
	if err := rdb.Eval(b.Context(), script, nil, tenants).Err(); err != nil && !errors.Is(err, redis.Nil) {
		b.Fatal(err)
	}
	bed := newBedOn(b, rdb)
	for name, path := range map[string]string{"list": "/tenants?after=comm_050000", "search": "/tenants?q=77"} {
		b.Run(fmt.Sprintf("tenants=%d/%s", tenants, name), func(b *testing.B) {
			for b.Loop() {
				if r := bed.ask(b, http.MethodGet, path, ""); r.status != http.StatusOK {
					b.Fatal(r.status)
				}
			}
		})
	}
}

// The page shows the changes of a time that is chosen, and its further pages keep to it.
func TestChangesSince(t *testing.T) {
	b := newBed(t)
	for i, id := range []string{"1000-0", "1000-1", "*"} { // two are of 1970
		values := []any{"type", "reload", "target", fmt.Sprint("comm_", i), "actor", "api:ada", "from", "192.0.2.7", "request_id", "r-17"}
		if err := b.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: "arrakis:audit", ID: id, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[string]int{"": 3, "24h": 1, "30d": 1, "2000-01-01": 1, "1970-01-01": 3} {
		r := b.ask(t, http.MethodGet, "/changes?type=reload&since="+since, "")
		if n := strings.Count(r.body, "comm_"); n != want*2 { // each with a link
			t.Errorf("since %q: %d changes, want %d: %s", since, n, want, r.body)
		}
		if !strings.Contains(r.body, `<option value="`+since+`" selected>`) {
			t.Errorf("since %q is not chosen: %s", since, r.body)
		}
		if text := textOf(r.body); !strings.Contains(text, "api:ada from 192.0.2.7") || !strings.Contains(text, "request r-17") {
			t.Errorf("nobody has made it: %s", text)
		}
	}
	f := changesFilter{Target: "a", Type: "tenant", Since: "7d"}
	if got := f.address("5-0"); got != "/changes?cursor=5-0&since=7d&target=a&type=tenant" {
		t.Errorf("the next page is at %s", got)
	}
}
