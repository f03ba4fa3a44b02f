package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// A community that has just bought a tier has it with the message that says so, although no event has reached this process.
func TestTierCountsForTheMessageThatKnowsOfIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options = func(o *Options) { o.TenantCacheTTL = time.Hour }
	b.handlers.Command("work", func(context.Context, *Message) (any, error) { return "done", nil })
	b.start() // without the subscription to events, which package worker has
	sent := 0
	send := func(headers ...string) contract.Outcome {
		t.Helper()
		sent++
		return b.outcome(b.publish("commands.interaction", command("c1", "work", fmt.Sprint("e", sent)), headers...))
	}
	for range 10 {
		if o := send(); o.Status != contract.StatusOK || o.Tier != "free" {
			t.Fatalf("%+v, want it to be handled as free", o)
		}
	}
	config, _, err := b.store.UpgradeTier(t.Context(), "c1", tenant.Pro)
	if err != nil {
		t.Fatal(err)
	}
	for _, since := range []string{"", "soon", "-1", "1.5"} {
		headers := []string{contract.HeaderTenantSince, since}
		if since == "" {
			headers = nil
		}
		if o := send(headers...); o.Status != contract.StatusRateLimited || o.Tier != "free" {
			t.Errorf("with %q: %+v, want it to be limited as free", since, o)
		}
	}
	written := strconv.FormatInt(config.UpdatedAt.UnixMilli(), 10)
	if o := send(contract.HeaderTenantSince, written); o.Status != contract.StatusOK || o.Tier != "pro" {
		t.Errorf("%+v, want it to be handled as pro", o)
	}
	if o := send(); o.Status != contract.StatusOK || o.Tier != "pro" {
		t.Errorf("the next: %+v, want it to be handled as pro", o)
	}
}
