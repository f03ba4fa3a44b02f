package chat

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/http/problem"
)

// premium buys the SKU for a place, or ends that. As in Discord, the application is told by an event, and each further
// interaction says it too.
func (c *chat) premium(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Place string `json:"place"`
		User  string `json:"user"`
		Has   bool   `json:"has"`
	}
	fault := read(w, r, &asked)
	var p place
	if fault == nil {
		p, fault = c.place(asked.Place, asked.User)
	}
	if fault == nil && c.o.SKU == "" {
		fault = problem.New(http.StatusNotFound, "not-found", "Nothing is sold here.")
	}
	if fault != nil {
		deny(w, fault)
		return
	}
	event, bought := c.trade(p, asked.Has, time.Now())
	done := result{}
	if event != "" {
		err := c.o.Discord.Event(r.Context(), c.o.Events, event, bought)
		if rule := new(fakediscord.RuleError); errors.As(err, &rule) {
			done.Rule = rule.Rule
		}
	}
	answer(w, done)
}

// trade makes a place have the SKU or not, and returns the event for it; "" if nothing changes.
func (c *chat) trade(p place, has bool, now time.Time) (event string, e fakediscord.Entitlement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := p.owner()
	e, had := c.bought[key]
	switch {
	case has == had:
		return "", e
	case has:
		e = fakediscord.Entitlement{SKU: c.o.SKU, Guild: p.guild, StartsAt: &now}
		if p.guild == "" {
			e.User = p.user.ID
		}
		e = c.o.Discord.Grant(e)
		c.bought[key] = e
		return fakediscord.EntitlementCreate, e
	default:
		e.Deleted, e.EndsAt = true, &now
		delete(c.bought, key)
		return fakediscord.EntitlementDelete, c.o.Discord.Grant(e)
	}
}

// has reports whether a place has the SKU.
func (c *chat) has(p place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, has := c.bought[p.owner()]
	return has
}

// owner is the ID of whom a purchase in the place is for.
func (p *place) owner() string { return cmp.Or(p.guild, p.user.ID) }
