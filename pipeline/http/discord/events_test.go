package discord

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/discord"
)

func TestEvents(t *testing.T) {
	type taken struct {
		Entitlement discord.Entitlement
		At          time.Time
	}
	var failure error
	seen := make(chan taken, 1)
	b := newBed(t, func(s *settings) {
		s.Entitlements = func(ctx context.Context, e discord.Entitlement, at time.Time) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("there is no deadline")
			}
			seen <- taken{e, at}
			return failure
		}
	})
	before := time.Now().Truncate(time.Microsecond)
	bought := fakediscord.Entitlement{ID: "1", SKU: "2", Guild: "7"}
	for event, deleted := range map[string]bool{fakediscord.EntitlementCreate: false, fakediscord.EntitlementUpdate: false, fakediscord.EntitlementDelete: true} {
		if err := b.fake.Event(t.Context(), b.url+eventsPath, event, bought); err != nil {
			t.Errorf("%s: %v", event, err)
		}
		got := <-seen
		if diff := cmp.Diff(discord.Entitlement{ID: "1", SKU: "2", GuildID: "7", Deleted: deleted}, got.Entitlement); diff != "" {
			t.Errorf("%s (-want +got)\n%s", event, diff)
		}
		if got.At.Before(before) || got.At.After(time.Now()) {
			t.Errorf("%s was at %v", event, got.At)
		}
	}
	b.counted(t, kindEvent, endTaken, 3)

	failure = errors.New("redis is away")
	a := b.post(t, eventsPath, `{"type":1,"event":{"type":"ENTITLEMENT_CREATE","data":{"id":"1","sku_id":"2"}}}`, time.Now(), nil)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || strings.Contains(a.body, "redis") {
		t.Errorf("an event that is not stored is answered %d %v %s", a.status, a.header, a.body)
	}
	if got := <-seen; got.At.Before(before) {
		t.Errorf("an event without a time was at %v", got.At)
	}
	b.counted(t, kindEvent, endFailed, 1)
	testserver.Eventually(t, "the error is logged", func() bool { return b.log.Count("redis is away") == 1 })

	if err := b.fake.Event(t.Context(), b.url+eventsPath, "APPLICATION_AUTHORIZED", map[string]any{}); err != nil {
		t.Errorf("an event of another kind: %v", err)
	}
	b.counted(t, kindEvent, endIgnored, 1)
	if a := b.post(t, eventsPath, `{"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}`, time.Now(), nil); a.status != http.StatusBadRequest {
		t.Errorf("an event without an entitlement is answered %d %s", a.status, a.body)
	}
	if len(seen) != 0 {
		t.Error("Entitlements is told of an event that has no entitlement")
	}
}

// Without anybody who takes them, events are answered all the same: else Discord would stop to send them.
func TestEventsThatNobodyTakes(t *testing.T) {
	b := newBed(t, nil)
	if err := b.fake.Event(t.Context(), b.url+eventsPath, fakediscord.EntitlementCreate, fakediscord.Entitlement{ID: "1", SKU: "2"}); err != nil {
		t.Error(err)
	}
	b.counted(t, kindEvent, endIgnored, 1)
}
