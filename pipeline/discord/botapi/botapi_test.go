package botapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/discord/api"
	"arrakis/pipeline/discord/appcommands"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// start returns a fake Discord and a client of it with the token, or with "" that of its bot.
func start(t *testing.T, token string) (*fakediscord.Server, *Client) {
	t.Helper()
	fake := fakediscord.New(fakediscord.Options{})
	url, err := fake.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() }) // nothing is pending
	if token == "" {
		token = fake.BotToken()
	}
	return fake, newClient(t, url, token)
}

func newClient(t *testing.T, url, token string) *Client {
	t.Helper()
	c, err := New(url, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func parse(t *testing.T, file string) []appcommands.Command {
	t.Helper()
	commands, err := appcommands.ParseFile([]byte(file), false)
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

func TestApplication(t *testing.T) {
	t.Parallel()
	fake, c := start(t, "")
	got, err := c.Application(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Application{ID: fake.ApplicationID(), Name: "arrakis", PublicKey: fake.PublicKey()}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	fake, c := start(t, "")
	wanted := parse(t, `[{"name":"ping","description":"p","name_localizations":{"de":"pong"}},{"name":"add","description":"a","options":[{"type":4,"name":"n","description":"n","min_value":1}]}]`)
	for _, guild := range []string{"", "7"} {
		for _, list := range [][]appcommands.Command{wanted, wanted[:1], nil} {
			after, err := c.Overwrite(t.Context(), fake.ApplicationID(), guild, list)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Commands(t.Context(), fake.ApplicationID(), guild)
			if err != nil {
				t.Fatal(err)
			}
			for _, have := range [][]appcommands.Command{after, got} {
				if p := appcommands.NewPlan(have, list, guild != ""); !p.Empty() || p.Same != len(list) {
					t.Errorf("guild %q has %+v, want %+v", guild, have, list)
				}
			}
		}
	}
}

// What Discord refuses is said with the field, and without the token.
func TestRefusals(t *testing.T) {
	t.Parallel()
	fake, c := start(t, "")
	bad := parse(t, `[{"name":"ping","description":"p"}]`)
	bad[0].Name = "Not Good"
	_, err := c.Overwrite(t.Context(), fake.ApplicationID(), "", bad)
	if want := "replace the commands: discord answers 400: Invalid Form Body (50035): 0.name: Command name is invalid"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	const wrong = "a.wrong.token"
	fake, c = start(t, wrong)
	_, err = c.Commands(t.Context(), fake.ApplicationID(), "")
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || strings.Contains(err.Error(), wrong) {
		t.Errorf("%v, want a 401 without the token", err)
	}
	for _, token := range []string{"", "two words", "line\n", "ümlaut"} {
		if _, err := New("http://localhost", token); err == nil || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("token %q: %v, want an error without it", token, err)
		}
	}
}

func TestEntitlements(t *testing.T) {
	t.Parallel()
	fake, c := start(t, "")
	all := func(guild string) (ids []string) {
		for e, err := range c.Entitlements(t.Context(), fake.ApplicationID(), guild) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		return ids
	}
	var want []string
	for range 2*pageLength + 1 {
		want = append(want, fake.Grant(fakediscord.Entitlement{SKU: "9", Guild: "1"}).ID)
	}
	past := time.Now().Add(-time.Hour)
	fake.Grant(fakediscord.Entitlement{SKU: "9", Guild: "1", EndsAt: &past})
	fake.Grant(fakediscord.Entitlement{SKU: "9", Guild: "1", Deleted: true})
	before := fake.Totals().Others
	if d := cmp.Diff(want, all("")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if calls := fake.Totals().Others - before; calls != 3 {
		t.Errorf("%d calls, want 3 pages", calls)
	}
	if got := all("2"); got != nil {
		t.Errorf("guild 2 has %v, want nothing", got)
	}
	for _, err := range c.Entitlements(t.Context(), fake.ApplicationID(), "") {
		if err != nil {
			t.Error(err)
		}
		break // asks for no more
	}
	fake.Fail(1, fakediscord.Status(500))
	errs := 0
	for _, err := range c.Entitlements(t.Context(), fake.ApplicationID(), "") {
		if err == nil {
			t.Error("an entitlement, want an error")
		}
		errs++
	}
	if errs != 1 {
		t.Errorf("%d errors, want 1", errs)
	}
}

// A server that sends the same page again and again is no endless loop.
func TestEntitlementsThatDoNotAdvance(t *testing.T) {
	t.Parallel()
	page := "[" + strings.Repeat(`{"id":"7","sku_id":"9"},`, pageLength-1) + `{"id":"8","sku_id":"9"}]`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(page)) })) // the client may be gone
	t.Cleanup(s.Close)
	for _, err := range newClient(t, s.URL, "x").Entitlements(t.Context(), "1", "") {
		if err == nil || !strings.Contains(err.Error(), "is not after") {
			t.Errorf("%v, want an error", err)
		}
	}
}

func TestWaitsWhereDiscordSaysSo(t *testing.T) {
	t.Parallel()
	fake, c := start(t, "")
	fake.Fail(2, fakediscord.RateLimited(fakediscord.ScopeUser, time.Millisecond))
	if _, err := c.Application(t.Context()); err != nil {
		t.Error(err)
	}
	fake.Fail(1, fakediscord.RateLimited(fakediscord.ScopeGlobal, maxWait+time.Second))
	var refused *api.Error
	if _, err := c.Application(t.Context()); !errors.As(err, &refused) || refused.Limited == nil {
		t.Errorf("%v, want a 429 that asks for more patience than there is", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fake.Fail(1, fakediscord.RateLimited(fakediscord.ScopeGlobal, maxWait))
	ended := make(chan error, 1)
	go func() {
		_, err := c.Application(ctx)
		ended <- err
	}()
	testserver.Eventually(t, "it waits", func() bool { return fake.Totals().Limited == 4 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}
