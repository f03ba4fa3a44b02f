package ingress

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// pathOf is the route of a fixture, by its name.
func pathOf(name string) string {
	switch {
	case strings.HasPrefix(name, "eligibility-sync"):
		return "/v1/eligibility/syncs"
	case strings.HasPrefix(name, "eligibility"):
		return "/v1/eligibility/checks"
	case strings.HasPrefix(name, "guild-join"), strings.HasPrefix(name, "guild-leave"), strings.HasPrefix(name, "member"):
		return "/v1/events"
	default:
		return "/v1/commands"
	}
}

func TestGoodFixtures(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, echo)
	published := make(chan *nats.Msg, 1)
	for _, subject := range []string{"commands.>", "eligibility.>", "events.>"} {
		if _, err := b.worker.ChanSubscribe(subject, published); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.worker.Flush(); err != nil {
		t.Fatal(err)
	}
	subjects := map[string]string{
		"eligibility-check-single.json": "eligibility.check.single.comm_004",
		"eligibility-sync.json":         "eligibility.sync.community_sync.comm_004",
		"guild-join.json":               "events.guild.join.700000000000000001",
		"interaction-command.json":      "commands.interaction.700000000000000001",
		"member-leave-null-data.json":   "events.member.leave.700000000000000001",
	}
	for name, body := range testserver.Fixtures(t, "good") {
		path := pathOf(name)
		want := http.StatusOK
		if path == "/v1/events" || path == "/v1/eligibility/syncs" {
			want = http.StatusAccepted
		}
		r := b.post(t, path, string(body))
		if r.code != want {
			t.Errorf("%s: %d %s, want %d", name, r.code, r.body, want)
			continue
		}
		m := <-published
		if !bytes.Equal(m.Data, body) {
			t.Errorf("%s: published %q, want the body as it was sent", name, m.Data)
		}
		if want := subjects[name]; want != "" && m.Subject != want {
			t.Errorf("%s: subject %s, want %s", name, m.Subject, want)
		}
	}
}

func TestBadFixtures(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, echo)
	fields := map[string]string{
		"array.json": "body", "deep-nesting.json": "body", "duplicate-guild.json": "body", "empty.txt": "body",
		"invalid-utf8.json": "body", "not-json.txt": "body", "trailing-garbage.json": "body", "truncated.json": "body",
		"command-name-empty.json": "data.command_name", "command-name-space.json": "data.command_name",
		"command-name-subject-tokens.json": "data.command_name", "command-name-too-long.json": "data.command_name",
		"command-name-upper.json": "data.command_name",
		"guild-id-injection.json": "guild_id", "guild-id-number.json": "guild_id", "guild-id-too-long.json": "guild_id",
		"guild-id-wildcard.json": "guild_id", "no-community.json": "community_id",
		"timestamp-negative.json": "timestamp", "timestamp-string.json": "timestamp",
	}
	madeUp := map[string]bool{"event-id-missing.json": true, "event-type-missing.json": true}
	bad := testserver.Fixtures(t, "bad")
	for name, body := range bad {
		r := b.post(t, "/v1/commands", string(body))
		if madeUp[name] {
			if r.code != http.StatusOK {
				t.Errorf("%s: %d %s, want 200", name, r.code, r.body)
			}
			continue
		}
		p := problemOf(t, r)
		if r.code != http.StatusBadRequest || fields[name] == "" || p.Field != fields[name] || !strings.Contains(p.Detail, p.Field) {
			t.Errorf("%s: %d %s, want a 400 that names %q", name, r.code, r.body, fields[name])
		}
	}
	if r := b.post(t, "/v1/events", string(bad["event-type-missing.json"])); r.code != http.StatusBadRequest || problemOf(t, r).Field != "event_type" {
		t.Errorf("an event without a type: %d %s", r.code, r.body)
	}
	if n := b.stored(t, contract.StreamEvents); n != 0 {
		t.Errorf("%d bad events were stored", n)
	}
}

func TestMissingMembers(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, echo)
	const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	tests := []struct{ name, path, body, key, want string }{
		{"both", "/v1/commands", `{"guild_id":"g" }`, "", `\{"event_id":"` + uuid + `","event_type":"interaction\.create","guild_id":"g" \}`},
		{"white space stays", "/v1/commands", " {\n\"guild_id\":\"g\"}\n", "k", ` \{"event_id":"k","event_type":"interaction\.create",\n"guild_id":"g"\}\n`},
		{"check", "/v1/eligibility/checks", `{"guild_id":"g","check_type":"single"}`, "k", `\{"event_id":"k","event_type":"eligibility\.check","guild_id":"g","check_type":"single"\}`},
		{"key", "/v1/commands", `{"event_type":"t","guild_id":"g"}`, "a/b+c", `\{"event_id":"a/b\+c","event_type":"t","guild_id":"g"\}`},
		{"quoted key", "/v1/commands", `{"event_type":"t","guild_id":"g"}`, `"k"`, `\{"event_id":"k","event_type":"t","guild_id":"g"\}`},
		{"key with a quote", "/v1/commands", `{"event_type":"t","guild_id":"g"}`, `k"\`, `\{"event_id":"k\\"\\\\","event_type":"t","guild_id":"g"\}`},
		{"the body wins", "/v1/commands", `{"event_id":"e","event_type":"t","guild_id":"g"}`, "k", `\{"event_id":"e","event_type":"t","guild_id":"g"\}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.key != "" {
				headers = []string{"Idempotency-Key", tt.key}
			}
			r := b.post(t, tt.path, tt.body, headers...)
			want := regexp.MustCompile(`^\{.*"result":` + tt.want + `,"rate_limit"`)
			if r.code != http.StatusOK || !want.MatchString(r.body) {
				t.Errorf("%d %s, want %s", r.code, r.body, want)
			}
		})
	}
}

func TestBadIdempotencyKey(t *testing.T) {
	b := newBed(t, nil)
	for name, headers := range map[string][]string{
		"space":    {"Idempotency-Key", "a b"},
		"empty":    {"Idempotency-Key", ""},
		"long":     {"Idempotency-Key", strings.Repeat("k", 129)},
		"two":      {"Idempotency-Key", "a", "Idempotency-Key", "b"},
		"escaped":  {"Idempotency-Key", `"a\"b"`},
		"no ASCII": {"Idempotency-Key", "ключ"},
	} {
		r := b.post(t, "/v1/commands", `{"guild_id":"g"}`, headers...)
		if r.code != http.StatusBadRequest || problemOf(t, r).Field != "Idempotency-Key" {
			t.Errorf("%s: %d %s", name, r.code, r.body)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, always(`{"status":"ok"}`))
	sized := func(n int) string {
		const head, tail = `{"guild_id":"g","x":"`, `"}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	for _, tt := range []struct{ size, want int }{{64 << 10, 200}, {64<<10 + 1, 413}, {1 << 20, 413}} {
		if r := b.post(t, "/v1/commands", sized(tt.size)); r.code != tt.want {
			t.Errorf("%d bytes: %d %s, want %d", tt.size, r.code, r.body, tt.want)
		}
		chunked := b.request(t, http.MethodPost, "/v1/commands", io.MultiReader(strings.NewReader(sized(tt.size))))
		if r := do(t, chunked); r.code != tt.want {
			t.Errorf("%d bytes in chunks: %d %s, want %d", tt.size, r.code, r.body, tt.want)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, always(`{"status":"ok"}`))
	for _, tt := range []struct {
		name, value string
		want        int
	}{
		{"Content-Type", "", 200},
		{"Content-Type", "application/json", 200},
		{"Content-Type", "Application/JSON; charset=utf-8", 200},
		{"Content-Type", "application/cloudevents+json", 200},
		{"Content-Type", "application/x-www-form-urlencoded", 415},
		{"Content-Type", "text/json", 415},
		{"Content-Type", "application/json; charset", 415},
		{"Content-Encoding", "identity", 200},
		{"Content-Encoding", "gzip", 415},
	} {
		if r := b.post(t, "/v1/commands", `{"guild_id":"g"}`, tt.name, tt.value); r.code != tt.want {
			t.Errorf("%s %q: %d %s, want %d", tt.name, tt.value, r.code, r.body, tt.want)
		}
	}
}

func TestPublishedHeaders(t *testing.T) {
	b := newBed(t, func(o *Options) { o.TrustTraces = true })
	headers := make(chan nats.Header, 1)
	b.work(t, func(m jetstream.Msg) []byte {
		headers <- m.Headers()
		return []byte(`{"status":"ok"}`)
	})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := b.post(t, "/v1/commands", `{"guild_id":"g"}`, "X-Request-Id", "req/1", "Traceparent", parent)
	h := <-headers
	if r.header.Get("X-Request-Id") != "req/1" || h.Get(contract.HeaderRequestID) != "req/1" {
		t.Errorf("request ID: %q answered, %q published", r.header.Get("X-Request-Id"), h.Get(contract.HeaderRequestID))
	}
	if h.Get("traceparent") != parent {
		t.Errorf("traceparent %q, want %q", h.Get("traceparent"), parent)
	}
	if to := h.Get(contract.HeaderReplyTo); !contract.ValidReplyTo(to) || !strings.HasPrefix(to, b.in.inbox+".") {
		t.Errorf("reply-to %q", to)
	}
	if wait := h.Get(contract.HeaderWait); wait != strconv.FormatInt(b.in.options.Wait.Milliseconds(), 10) {
		t.Errorf("a worker is told that the request waits for %q ms", wait)
	}

	r = b.post(t, "/v1/commands", `{"guild_id":"g"}`, "X-Request-Id", "a b", "Traceparent", "00-zz")
	h = <-headers
	if id := r.header.Get("X-Request-Id"); len(id) != 36 || h.Get(contract.HeaderRequestID) != id {
		t.Errorf("request ID: %q answered, %q published, want one UUID", id, h.Get(contract.HeaderRequestID))
	}
	if _, ok := h["traceparent"]; ok {
		t.Error("an invalid traceparent was published")
	}
}

// FuzzIngress makes messages of any request: no panic, no 5xx, and what would be published is what was sent but for the
// spliced members, is accepted by the worker, and goes where its route says (F12). What is refused as malformed, the
// worker refuses too. It stops short of NATS, whose coverage differs from run to run, so that the fuzzer can learn.
// F17: the path is one of the routes, so that no input is skipped.
func FuzzIngress(f *testing.F) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m := newMetrics(nil)
	routes := newRoutes(m)
	numbers := make(map[string]uint8, contract.NumKinds) // of paths: their kinds
	for kind := range contract.Kind(contract.NumKinds) {
		numbers[kind.Route().HTTPPath] = uint8(kind)
	}
	for _, dir := range []string{"good", "bad"} {
		for name, body := range testserver.Fixtures(f, dir) {
			f.Add(numbers[pathOf(name)], false, body, "key", "application/json", parent)
			f.Add(numbers[pathOf(name)], true, body, `"key"`, "", "")
		}
	}
	f.Fuzz(func(t *testing.T, number uint8, chunked bool, body []byte, key, media, parent string) {
		const maxBody = 2 << 10
		body = body[:min(len(body), 2*maxBody)]
		kind := contract.Kind(number % uint8(contract.NumKinds))
		if kind == contract.KindAnswer { // it has no path
			kind = contract.KindCommand
		}
		rt := routes[kind.Route().HTTPPath]
		r := &http.Request{
			Method: http.MethodPost, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
			Header: http.Header{"Idempotency-Key": {key}, "Content-Type": {media}, "Traceparent": {parent}},
		}
		if chunked {
			r.ContentLength = -1
		}
		rules := messageRules(maxBody)
		read, p := rules.Read(httptest.NewRecorder(), r)
		var m *message
		if p == nil {
			m, p = newMessage(r, rt, read)
		}
		_, refused := contract.Decode(rt.Kind, body)
		switch {
		case p == nil:
			checkMessage(t, m, rt, body)
		case p.Status < 400 || p.Status > 499 || p.Field == "" || p.Detail == "":
			t.Fatalf("%+v", p)
		case p.Status == http.StatusBadRequest && refused == nil:
			t.Fatalf("the ingress refuses what the worker accepts: %q: %+v", body, p)
		}
	})
}

var (
	splicedMembers = regexp.MustCompile(`^("event_id":"([^"\\]|\\["\\])+",)?("event_type":"[a-z.]+",)?$`)
	anySubject     = regexp.MustCompile(`^(commands|events|eligibility)(\.[A-Za-z0-9_:-]+)+$`)
)

// checkMessage holds the message that newMessage made of body against it.
func checkMessage(t *testing.T, m *message, rt *route, body []byte) {
	t.Helper()
	published := m.msg.Data
	open := bytes.IndexByte(body, '{') + 1
	if !bytes.HasPrefix(published, body[:open]) || !bytes.HasSuffix(published, body[open:]) ||
		!splicedMembers.Match(published[open:len(published)-len(body)+open]) {
		t.Fatalf("sent %q, published %q", body, published)
	}
	e, err := contract.Decode(rt.Kind, published)
	if err != nil || e.EventID != m.envelope.EventID || e.EventType != m.envelope.EventType {
		t.Fatalf("published %q: %+v, %v", published, e, err)
	}
	if !anySubject.MatchString(m.msg.Subject) || !strings.HasSuffix(m.msg.Subject, "."+e.TenantKey) {
		t.Fatalf("subject %q", m.msg.Subject)
	}
	if strings.ContainsAny(m.msg.Header.Get(contract.HeaderTraceParent), "\r\n") {
		t.Fatalf("headers %q", m.msg.Header)
	}
}
