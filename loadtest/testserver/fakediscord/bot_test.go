package fakediscord_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

// bot makes a call with the bot's token and returns the answer's status. It decodes the answer into value.
func (w *world) bot(method, path, body string, value any) int {
	w.tb.Helper()
	r, err := http.NewRequestWithContext(w.tb.Context(), method, w.api+path, strings.NewReader(body))
	if err != nil {
		w.tb.Fatal(err)
	}
	r.Header.Set("Authorization", "Bot "+w.BotToken())
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if err := json.NewDecoder(response.Body).Decode(value); err != nil {
		w.tb.Fatal(err)
	}
	return response.StatusCode
}

func TestCommands(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	app := "/applications/" + w.ApplicationID()
	var before, after []fakediscord.Command
	want(t, "global", w.bot("PUT", app+"/commands", `[{"name":"ping","description":"p"},{"name":"old","description":"o"}]`, &before), 200)
	want(t, "again", w.bot("PUT", app+"/commands", `[{"name":"ping","description":"changed"}]`, &after), 200)
	want(t, "the ID stays", after[0]["id"], before[0]["id"])
	want(t, "list", w.bot("GET", app+"/commands", "", &after), 200)
	if len(after) != 1 || after[0]["description"] != "changed" {
		t.Errorf("commands: %v", after)
	}
	want(t, "guild", w.bot("GET", app+"/guilds/7/commands", "", &after), 200)
	want(t, "its commands", len(after), 0)

	var fault map[string]any
	want(t, "bad name", w.bot("PUT", app+"/commands", `[{"name":"ok","description":"p"},{"name":"A b","description":"p"}]`, &fault), 400)
	want(t, "errors", fault["errors"], any(map[string]any{"1": map[string]any{"name": map[string]any{"_errors": []any{
		map[string]any{"code": "APPLICATION_COMMAND_INVALID_NAME", "message": "Command name is invalid"},
	}}}}))
	status, _ := w.call("GET", app+"/commands", "")
	want(t, "without a token", status, 401)
	want(t, "another application", w.bot("GET", "/applications/1/commands", "", &fault), 404)
	want(t, "application", w.bot("GET", "/applications/@me", "", &fault), 200)
	want(t, "its key", fault["verify_key"], any(w.PublicKey()))
}

func TestEntitlements(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	var ids []string
	for range 150 {
		ids = append(ids, w.Grant(fakediscord.Entitlement{SKU: "9", Guild: "1"}).ID)
	}
	var page, rest []fakediscord.Entitlement
	path := "/applications/" + w.ApplicationID() + "/entitlements?guild_id=1"
	want(t, "page", w.bot("GET", path, "", &page), 200)
	want(t, "rest", w.bot("GET", path+"&after="+page[len(page)-1].ID, "", &rest), 200)
	var got []string
	for _, e := range append(page, rest...) {
		got = append(got, e.ID)
	}
	want(t, "all, in order", got, slices.Sorted(slices.Values(ids)))
	want(t, "bad limit", w.bot("GET", path+"&limit=101", "", &map[string]any{}), 400)
}

// An interaction carries what its guild and its user have at the time.
func TestInteractionsCarryEntitlements(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	carries := func() (skus []string) {
		var i struct{ Entitlements []fakediscord.Entitlement }
		if err := json.Unmarshal(w.Issue(fakediscord.Slash("ping").In("1", "2").By("3", "x")).Body, &i); err != nil {
			t.Fatal(err)
		}
		for _, e := range i.Entitlements {
			skus = append(skus, e.SKU)
		}
		return skus
	}
	want(t, "at first", carries(), []string(nil))
	guild := w.Grant(fakediscord.Entitlement{SKU: "guild", Guild: "1"})
	w.Grant(fakediscord.Entitlement{SKU: "user", User: "3"})
	w.Grant(fakediscord.Entitlement{SKU: "other", Guild: "4"})
	want(t, "bought", carries(), []string{"guild", "user"})
	past := time.Now().Add(-time.Second)
	guild.EndsAt = &past
	w.Grant(guild)
	want(t, "one has ended", carries(), []string{"user"})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	endpoint := w.endpoint(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	if err := w.Event(t.Context(), endpoint, fakediscord.EntitlementCreate, w.Grant(fakediscord.Entitlement{SKU: "9", Guild: "1"})); err != nil {
		t.Error(err)
	}
	if err := w.ProbeEvents(t.Context(), endpoint); err != nil {
		t.Error(err)
	}
	if err := w.Event(t.Context(), w.endpoint(reply("{}")), fakediscord.EntitlementDelete, nil); err == nil {
		t.Error("an answer 200 is no fault, want one")
	}
}
