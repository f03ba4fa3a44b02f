// Package premium gives communities the tier that they have bought on Discord. Every interaction carries the entitlements
// that are in force, and webhook events tell of changes at once; the store keeps what both say, in the config of the
// community ([tenant.Observation] has the rules). SKUs that give a tier are in the tiers document. Where it has none,
// nothing here does anything.
//
// A guild's entitlements count for the guild, and a user's own for the user's direct messages, which are a community too.
package premium

import (
	"context"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	lru "github.com/hashicorp/golang-lru/v2"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/discord"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

const (
	// lookEvery is for how long an interaction that says the same as the last one costs no look at Redis. The look finds
	// what others have changed since, such as a config that was deleted.
	lookEvery = 30 * time.Second
	// tellFor is for how long interactions tell the worker that a config has been written, from when this process learned
	// of it. By then each process has read it, also one that no event reaches.
	tellFor = time.Minute
	// communities is how many are remembered, at about 200 bytes each.
	communities = 50_000
)

// origin is what the audit log says of who has changed a config.
var origin = store.Origin{Actor: "discord"}

// Premium records entitlements. It is safe for concurrent use.
type Premium struct {
	tenants *store.Store
	health  *redishealth.Health
	last    *lru.Cache[string, *look] // the last look at each community
}

// look is what an interaction has said of its community, and what the store made of it. It does not change.
type look struct {
	said    uint64        // hash of the entitlements
	tiers   *tenant.Tiers // by which they were applied
	at      time.Time
	written time.Time // when the config was written, by Redis's clock; zero: there is none
	learned time.Time // when this process learned that
}

// New makes a Premium that records in tenants, whose Redis health watches.
func New(tenants *store.Store, health *redishealth.Health) *Premium {
	last, _ := lru.New[string, *look](communities) // an error only for a size below 1
	return &Premium{tenants: tenants, health: health, last: last}
}

// Interaction records the entitlements of an interaction. Those that are not among them any more have ended, unless it is
// unclear whether these are all. It returns
// the time for the message's header [contract.HeaderTenantSince], so that this very command is handled in its new tier;
// zero if nothing has changed lately. An interaction that says the same as the last one of its community costs no round trip.
// After an error the next interaction tries again. Errors: [redishealth.ErrAway] and those of [store.Store.Entitle].
func (p *Premium) Interaction(ctx context.Context, i *discord.Interaction) (since time.Time, err error) {
	return p.interaction(ctx, i, time.Now())
}

func (p *Premium) interaction(ctx context.Context, i *discord.Interaction, now time.Time) (since time.Time, err error) {
	tiers := p.tenants.Tiers()
	if len(tiers.SKUs) == 0 {
		return time.Time{}, nil
	}
	community, said := i.Community(), hashOf(i.Entitlements, i.EntitlementsUnclear)
	was, known := p.last.Get(community)
	if known && was.said == said && was.tiers == tiers && now.Sub(was.at) < lookEvery {
		return was.since(now), nil
	}
	seen, ok := observe(i)
	if !ok {
		return time.Time{}, nil
	}
	updatedAt, changed, err := p.entitle(ctx, community, seen)
	if err != nil {
		return time.Time{}, err
	}
	l := &look{said: said, tiers: tiers, at: now, learned: now, written: updatedAt}
	if known && !changed && was.written.Equal(updatedAt) {
		l.learned = was.learned
	}
	p.last.Add(community, l)
	return l.since(now), nil
}

// since is the header of an interaction that comes at now.
func (l *look) since(now time.Time) time.Time {
	if now.Sub(l.learned) >= tellFor {
		return time.Time{}
	}
	return l.written
}

// Event records what a webhook event, which may come late, says of an entitlement as it was at a time. The errors are
// those of Interaction; Discord sends the event again.
func (p *Premium) Event(ctx context.Context, e discord.Entitlement, at time.Time) error {
	community := e.Community()
	if len(p.tenants.Tiers().SKUs) == 0 || community == "" || e.StartsAt.After(at) {
		return nil
	}
	_, changed, err := p.entitle(ctx, community, tenant.Observation{At: at, Seen: map[string]tenant.Seen{e.ID: seenOf(&e)}})
	if changed {
		p.last.Remove(community)
	}
	return err
}

func (p *Premium) entitle(ctx context.Context, community string, o tenant.Observation) (updatedAt time.Time, changed bool, err error) {
	if p.health.KeyAway(store.ConfigKey(community)) {
		return time.Time{}, false, redishealth.ErrAway
	}
	return p.tenants.Entitle(store.WithOrigin(ctx, origin), community, o)
}

// observe is what an interaction says of its community.
func observe(i *discord.Interaction) (o tenant.Observation, ok bool) {
	at, ok := discord.Created(i.ID)
	if !ok {
		return o, false
	}
	o = tenant.Observation{At: at, Complete: !i.EntitlementsUnclear, Seen: make(map[string]tenant.Seen, len(i.Entitlements))}
	for n := range i.Entitlements {
		e := &i.Entitlements[n]
		// A user's own entitlements come with interactions in guilds, too.
		if whose := e.Community(); e.StartsAt.After(at) || whose != "" && whose != i.Community() {
			continue
		}
		o.Seen[e.ID] = seenOf(e)
	}
	return o, true
}

func seenOf(e *discord.Entitlement) tenant.Seen {
	return tenant.Seen{SKU: e.SKU, EndsAt: e.EndsAt, Deleted: e.Deleted}
}

// hashOf is the same for the same entitlements in whatever order.
func hashOf(all []discord.Entitlement, unclear bool) (sum uint64) {
	if unclear {
		sum = 1
	}
	var text []byte
	for n := range all {
		e := &all[n]
		text = append(text[:0], e.ID...)
		text = append(append(text, ' '), e.SKU...)
		text = strconv.AppendInt(append(text, ' '), e.EndsAt.UnixMicro(), 10)
		text = strconv.AppendBool(append(text, ' '), e.Deleted)
		sum += xxhash.Sum64(text)
	}
	return sum
}
