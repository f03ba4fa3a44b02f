package console

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

// bed is the console on an ops address, with a Redis and a NATS of its own, and a fleet that tests make up.
type bed struct {
	store  *store.Store
	redis  redis.UniversalClient
	limits *shard.Limits
	js     jetstream.JetStream
	access auth.Access
	url    string
	shows  chan *view.Fleet // each is the next snapshot
}

const (
	adminToken = "admin-token"
	viewToken  = "view-token"

	limitsToken  = "limits-token"
	tiersToken   = "tiers-token"
	lettersToken = "letters-token"
)

func newBed(tb testing.TB) *bed {
	tb.Helper()
	mini := testserver.Miniredis(tb)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true, DialerRetries: 1})
	tb.Cleanup(func() { _ = rdb.Close() })
	return newBedOn(tb, rdb)
}

func newBedOn(tb testing.TB, rdb redis.UniversalClient) *bed {
	tb.Helper()
	return newBedOf(tb, rdb, store.New(rdb, store.Options{Source: "test"}))
}

func newBedOf(tb testing.TB, rdb redis.UniversalClient, tenants *store.Store) *bed {
	tb.Helper()
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	b := &bed{store: tenants, redis: rdb, shows: make(chan *view.Fleet)}
	b.limits = &shard.Limits{Tenants: b.store, Limiter: l}
	b.js = testserver.JetStream(tb, testserver.NATS(tb).Connect(tb))
	if err := streams.Ensure(tb.Context(), b.js, nil, streams.Options{Storage: jetstream.MemoryStorage}, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatal(err)
	}
	b.storeLetter(tb, map[string]string{contract.HeaderSubject: evil, contract.HeaderError: evil, contract.HeaderStream: evil, contract.HeaderReason: evil, "X-Evil": evil}, evil)
	access := auth.NewAccess(true)
	for token, g := range map[string]auth.Grant{
		adminToken: auth.Admin, viewToken: auth.Viewer, limitsToken: {Name: "support", Scopes: []auth.Scope{auth.Limits}},
		tiersToken: {Name: "sales", Scopes: []auth.Scope{auth.Tiers}}, lettersToken: {Name: "oncall", Scopes: []auth.Scope{auth.DeadLetters}},
	} {
		if err := access.Add(g, token); err != nil {
			tb.Fatal(err)
		}
	}
	b.access = access
	h, err := Handler(Options{
		Fleet: b.hub(tb), Limits: b.limits, Directory: b.directory(tb), DeadLetters: deadletter.New(b.js), Access: access, Version: "v1.2.3",
		Lanes: func(ctx context.Context, community string) ([]lanes.Status, error) {
			return lanes.Look(ctx, b.js, rdb, l.Health(), community)
		},
		Chat: chatStub, Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	h, err = ops.Handler(ops.Options{Health: ops.NewHealth(nil), Console: h, Access: access, Loopback: true})
	if err != nil {
		tb.Fatal(err)
	}
	ts := httptest.NewServer(h)
	tb.Cleanup(ts.Close)
	b.url = ts.URL
	return b
}

// storeLetter stores a dead letter of COMMANDS with the reason panic, if its headers say nothing else, and returns its sequence.
func (b *bed) storeLetter(tb testing.TB, header map[string]string, body string) uint64 {
	tb.Helper()
	m := nats.NewMsg(contract.DeadLetterSubject(contract.StreamCommands, contract.ReasonPanic))
	m.Data = []byte(body)
	m.Header[contract.HeaderStream], m.Header[contract.HeaderReason] = []string{contract.StreamCommands}, []string{string(contract.ReasonPanic)}
	for name, value := range header {
		m.Header[name] = []string{value}
	}
	ack, err := b.js.PublishMsg(tb.Context(), m)
	if err != nil {
		tb.Fatal(err)
	}
	return ack.Sequence
}

// directory runs a directory of the tenants until the test ends.
func (b *bed) directory(tb testing.TB) *store.Directory {
	tb.Helper()
	d := store.NewDirectory(b.store)
	ctx, stop := context.WithCancel(tb.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Run(ctx) }) // it returns nil
	tb.Cleanup(func() { stop(); wg.Wait() })
	return d
}

// hub is a hub that shows hostileFleet first, and then what comes from b.shows.
func (b *bed) hub(tb testing.TB) *live.Hub {
	tb.Helper()
	h := live.New(func(ctx context.Context, each func(*view.Fleet)) {
		f := hostileFleet()
		for {
			each(f)
			select {
			case <-ctx.Done():
				return
			case f = <-b.shows:
			}
		}
	})
	ctx, stop := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	tb.Cleanup(func() { stop(); <-done })
	return h
}

// evil is a name that would do harm as HTML, in an attribute, a URL or a script, or that would be read otherwise than it is.
const evil = `<img src=x onerror=alert(1)>"'` + "`" + `</script><script>alert(2)</script>&amp;javascript:alert(3)` + "\u202e\x00/../?x#y"

// hostileFleet is a fleet in which every text is evil. Where others can choose a text in production, it is bounded, but not
// escaped.
func hostileFleet() *view.Fleet {
	opened, size, dropped := time.Now().Add(-time.Hour), int64(1<<30), uint64(3)
	return &view.Fleet{
		At: time.Now(), Degraded: []string{evil, "Redis does not answer."},
		Totals: view.FleetTotals{Workers: 2, Ready: 1, Rates: fleet.Rates{In: 1234.5, Handled: 1200, Limited: 30.5, Failed: 4}, Waiting: 17, Running: 12, InProcess: 40, Handlers: 256, Pending: 123_456, InLanes: 5},
		Workers: []view.Worker{
			{ID: evil, Host: evil, Version: evil, State: fleet.Degraded, Faults: []fleet.Fault{{Check: evil, Status: "degraded", Detail: evil}}, Shards: 64, Handlers: 256, UptimeMS: 3_700_000, AgeMS: 900},
			{ID: "host-1-0badcafe", Host: "host-1", Version: "v1.2.3", State: fleet.Lost, Shards: 64, Handlers: 256, UptimeMS: 90_000, AgeMS: 20_000},
		},
		Streams: []view.Stream{
			{
				Stream: contract.StreamCommands, Exists: true, Messages: 12, Bytes: 900 << 20, MaxBytes: &size, OldestMS: 1500, Leader: evil, UnreadDropped: &dropped,
				Consumers: []view.Consumer{{Consumer: "command-worker", Pending: 7, Leader: evil}, {Consumer: "other", Fault: evil}},
				Differs:   []streams.Change{{Stream: contract.StreamCommands, Setting: "max_age", Is: evil, Wanted: evil}, {Stream: contract.StreamCommands, Consumer: evil}},
			},
			{Stream: contract.StreamEvents},
		},
		Lanes:       []view.Lane{{Kind: "command", Community: evil, Lane: 3, Shared: true, Opened: &opened, Direct: true, Messages: 5, Bytes: 1000, OldestMS: 100}},
		Waiting:     []view.WaitingCommunity{{Community: evil, Tier: evil, Waiting: 17, Running: 3, Busy: 2.5, Share: 0.625, Lanes: []string{evil}}},
		DeadLetters: view.FleetDeadLetters{Messages: 3, ByReason: map[contract.Reason]uint64{evil: 3}, OldestMS: 5000},
	}
}

// client keeps no connection after a test, which would be a leak, and follows no redirect.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
	cookie *http.Cookie // the only one that is set, if any
}

// ask sends a request as an admin, unless headers, given as name, value pairs, say otherwise.
func (b *bed) ask(tb testing.TB, method, path, body string, headers ...string) response {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := client.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	answer := response{status: resp.StatusCode, header: resp.Header, body: string(got)}
	if cookies := resp.Cookies(); len(cookies) == 1 {
		answer.cookie = cookies[0]
	}
	return answer
}

// logIn sends the form of the log-in.
func (b *bed) logIn(tb testing.TB, token, next string, headers ...string) response {
	tb.Helper()
	form := url.Values{"token": {token}, "next": {next}}.Encode()
	return b.ask(tb, http.MethodPost, "/login", form, append([]string{"Authorization", "", "Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}
