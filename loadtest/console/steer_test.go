package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/worker"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// exhaust sends commands until the community is over its limit.
func (s *site) exhaust(community string) {
	s.t.Helper()
	for range 1_000 {
		if s.command(community, "ping") == http.StatusTooManyRequests {
			return
		}
	}
	s.t.Fatalf("%s is never over its limit", community)
}

// answers waits until a command of the community is answered with the status: a change is in force within a second.
func (s *site) answers(community string, status int, when string) {
	s.t.Helper()
	testserver.Eventually(s.t, fmt.Sprintf("%s a command is answered %d", when, status), func() bool { return s.command(community, "ping") == status })
}

// What is changed on the page of a tenant counts for the next command: tier, limit, boost, reset, mode.
func TestChangesCountForTheNextCommand(t *testing.T) {
	s := newSite(t, nil)
	b := newTab(t, s.ops, wide, height)
	s.exhaust("comm_1")

	b.open("/tenants/comm_1")
	b.fill("select[name=tier]", "pro")
	b.reloads("Saved.", func() { b.click("button", "Save") })
	s.answers("comm_1", http.StatusOK, "after the upgrade")

	b.fill(`form[data-api^="PATCH"] input[name="rateLimits.commandsPerMinute"]`, "1")
	b.reloads("Saved.", func() { b.click("button", "Save") })
	s.answers("comm_1", http.StatusTooManyRequests, "with a limit of 1")

	b.fill(`form[data-api$="/boost"] input[name="rateLimits.commandsPerMinute"]`, "500")
	b.fill(`form[data-api$="/boost"] input[name="for"]`, "1h")
	b.reloads("The boost is in force.", func() { b.click("button", "Boost") })
	b.shows("+500")
	s.answers("comm_1", http.StatusOK, "with a boost")
	b.reloads("The boost has ended.", func() { b.click("button", "End") })
	s.answers("comm_1", http.StatusTooManyRequests, "after the boost")

	b.reloads("The limits are reset.", func() {
		b.click("button", "Reset")
		b.click("#question button[value=yes]", "Reset")
	})
	s.answers("comm_1", http.StatusOK, "after the reset")
	s.answers("comm_1", http.StatusTooManyRequests, "after the reset, for the second command")

	b.fill(`select[name="mode"]`, "shadow")
	b.reloads("Saved.", func() { b.click("button", "Save") })
	b.shows("shadow: limits are only counted")
	s.answers("comm_1", http.StatusOK, "in shadow mode")

	b.open("/changes")
	b.shows("comm_1")
	if n := eval[int](b, `document.querySelectorAll("#changes ~ * tbody tr, section tbody tr").length`); n < 6 {
		t.Errorf("%d changes are shown", n)
	}
}

// A tier that was bought stays so when something else is saved; one that was set by hand can be left to what was bought.
func TestBoughtTier(t *testing.T) {
	s := newSite(t, nil)
	if _, err := s.store().PutTiers(t.Context(), tenant.Tiers{SKUs: map[string]tenant.Tier{"77": tenant.Pro}}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s.put("comm_1", `{"tier":"free","tierFrom":"entitlement","entitlements":{"9":{"sku":"77","at":"2026-01-01T00:00:00Z"}}}`)
	b := newTab(t, s.ops, wide, height)
	check := func(when, shown string, from tenant.Source) {
		t.Helper()
		b.shows(shown)
		c, _, err := s.store().Get(t.Context(), "comm_1")
		if err != nil || c.TierFrom != from {
			t.Errorf("%s: tier %s, from %q, want it from %q (%v)", when, c.Tier, c.TierFrom, from, err)
		}
	}
	b.open("/tenants/comm_1")
	b.fill(`select[name="mode"]`, "shadow")
	b.reloads("Saved.", func() { b.click("button", "Save") })
	check("after another change", "pro from an entitlement", tenant.FromEntitlement)
	b.fill("select[name=tier]", "enterprise")
	b.reloads("Saved.", func() { b.click("button", "Save") })
	check("set by hand", "enterprise, set by hand, over pro from an entitlement", "")
	b.reloads("What was bought on Discord says the tier now.", func() { b.click("button", "Leave it to what was bought") })
	check("left to what was bought", "pro from an entitlement", tenant.FromEntitlement)
}

// Whoever saves a page that is older than the last change is told so, and changes nothing.
func TestLostUpdate(t *testing.T) {
	s := newSite(t, nil)
	s.put("comm_1", `{"tier":"free"}`)
	b := newTab(t, s.ops, wide, height)
	b.allow("412")
	b.open("/tenants/comm_1")
	s.put("comm_1", `{"tier":"enterprise"}`)
	b.fill("select[name=tier]", "pro")
	b.click("button", "Save")
	b.shows("Somebody else has changed it meanwhile.")
	c, _, err := s.store().Get(t.Context(), "comm_1")
	if err != nil || c.Tier != tenant.Enterprise {
		t.Errorf("the tier is %q, %v", c.Tier, err)
	}
}

// A value that the API refuses is shown at its field, in words.
func TestRefusedValue(t *testing.T) {
	s := newSite(t, nil)
	s.put("comm_1", `{"tier":"free"}`)
	b := newTab(t, s.ops, wide, height)
	b.allow("400")
	b.allow("422")
	b.open("/tenants/comm_1")
	b.fill(`form[data-api^="PATCH"] input[name="rateLimits.commandsPerMinute"]`, "-7")
	b.click("button", "Save")
	b.eventually("the problem is told", `document.querySelector("[role=alert]")?.textContent.includes("unlimited")`)
	b.eventually("the field is marked", `document.querySelector("[aria-invalid]")?.name === "rateLimits.commandsPerMinute"`)
}

// An account is made on its page, and communities get into it on theirs. Then they use its limit up together.
func TestAccountIsMadeAndUsed(t *testing.T) {
	s := newSite(t, nil)
	b := newTab(t, s.ops, wide, height)
	b.open("/accounts?id=acme")
	b.open("/accounts/acme")
	b.fill(`input[name="name"]`, "Acme")
	b.fill(`select[name="counted"]`, "together")
	b.fill(`input[name="rateLimits.commandsPerMinute"]`, "2")
	b.reloads("Saved.", func() { b.click("button", "Save") })
	for _, community := range []string{"comm_1", "comm_2"} {
		b.open("/tenants/" + community)
		b.fill(`input[name="account"]`, "acme")
		b.reloads("Saved.", func() { b.click("button", "Save") })
		b.shows("acme (Acme): limits are counted together")
		s.answers(community, http.StatusOK, "in the account")
	}
	s.answers("comm_1", http.StatusTooManyRequests, "when both have sent one")
	b.open("/accounts/acme")
	b.shows("comm_1")
	b.shows("comm_2")
	b.allow("409")
	b.click("button", "Delete account")
	b.click("#question button[value=yes]", "Delete")
	b.shows("communities are in it")
}

// Tenants are found by a part of their ID, in order of their IDs, page by page.
func TestSearch(t *testing.T) {
	s := newSite(t, nil)
	for i := range 150 {
		s.put(fmt.Sprintf("guild_%03d", i), `{"tier":"free"}`)
	}
	s.put("9007199254740993001", `{"tier":"pro"}`)
	b := newTab(t, s.ops, wide, height)
	b.open("/tenants")
	b.fill("input[name=q]", "uild_14")
	b.key("\r")
	b.eventually("ten are found", `document.querySelectorAll("#results tbody tr").length === 10`)
	if got := eval[string](b, `[...document.querySelectorAll("#results tbody a")].map(e => e.textContent).join(" ")`); got !=
		"guild_140 guild_141 guild_142 guild_143 guild_144 guild_145 guild_146 guild_147 guild_148 guild_149" {
		t.Error(got)
	}
	b.open("/tenants?q=guild")
	seen := map[string]bool{}
	for {
		for _, id := range eval[[]string](b, `[...document.querySelectorAll("#results tbody a")].map(e => e.textContent)`) {
			seen[id] = true
		}
		next := eval[string](b, `document.querySelector("a[rel=next]")?.getAttribute("href") ?? ""`)
		if next == "" {
			break
		}
		b.open(next)
	}
	if len(seen) != 150 {
		t.Errorf("%d of 150 are seen", len(seen))
	}
	b.open("/tenants?q=9007199254740993001") // above 2^53
	b.click("#results a", "9007199254740993001")
	b.eventually("its page is shown", `location.pathname === "/tenants/9007199254740993001" && document.querySelector("h1")?.textContent === "9007199254740993001"`)
}

// A replay of all dead letters that match shows how far it is, and runs each message once.
func TestBulkReplay(t *testing.T) {
	const letters, others = 450, 5
	var broken atomic.Bool
	var done atomic.Int64
	broken.Store(true)
	s := newSite(t, func(o *worker.Options) {
		o.MaxAttempts = 1
		o.Handlers.Command("work", func(context.Context, *pipeline.Message) (any, error) {
			if broken.Load() {
				return nil, errors.New("the database is away")
			}
			done.Add(1)
			return nil, nil
		})
	})
	s.put("comm_1", `{"tier":"enterprise"}`)
	s.put("comm_2", `{"tier":"enterprise"}`)
	s.publish("comm_1", "work", letters)
	s.publish("comm_2", "work", others)
	testserver.Eventually(t, "all are dead letters", func() bool { return s.deadLetters() == letters+others })
	broken.Store(false)

	b := newTab(t, s.ops, wide, height)
	b.open("/deadletters?community=comm_1&reason=attempts_exhausted")
	b.fill("select[name=scope]", "all")
	b.click("#bulk button", "Replay")
	b.click("#question button[value=yes]", "Replay")
	b.shows(fmt.Sprintf("%d replayed", letters))
	b.shows("None match.")
	testserver.Eventually(t, "all are handled", func() bool { return done.Load() >= letters })
	if got := s.deadLetters(); got != others {
		t.Errorf("%d dead letters are left, want the %d of the other community", got, others)
	}

	b.open("/deadletters")
	b.click("#rows input[name=seq]", "")
	b.click("#bulk button", "Delete")
	b.click("#question button[value=yes]", "Delete")
	b.shows("1 deleted")
	testserver.Eventually(t, "one is deleted", func() bool { return s.deadLetters() == others-1 })
	if got := done.Load(); got != letters {
		t.Errorf("%d messages ran, want %d: each once", got, letters)
	}
}

// load calls send again and again while do runs.
func (s *site) load(send, do func()) {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			send()
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	defer func() { stop(); <-ended }()
	do()
}
