package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

// The guilds, by what they may do. Each has channels enough that Discord's limit of a channel is not reached: that is
// another test's.
const (
	charged = 180 // a limit that is never reached, so that each interaction costs Redis a permit
	open    = 20  // no limit
	free    = 5   // the free tier, and far above its limit

	channels  = 50
	freeLimit = 10 // a minute
)

// class is what an interaction is for.
type class int

// The classes.
const (
	quick class = iota // its handler answers at once
	slow               // its handler takes longer than the worker waits for it
	over               // of a guild that is above its limit
)

// The commands. The name of a component's handler is its custom ID up to the first colon.
const (
	quickCommand, quickComponent = "ping", "vote"
	slowCommand, slowComponent   = "report", "refresh"
)

// The time that a slow handler takes.
const slowLeast, slowMost = 2500 * time.Millisecond, 6 * time.Second

// guild is the ID of guild i, of all.
func guild(i int) string { return fmt.Sprint(2_000_000_000_000_000_000 + uint64(i)) } //nolint:gosec // not negative

// tenants returns the documents of the guilds that have one, by key, for a load of rate interactions a second.
func tenants(rate int) map[string]string {
	documents := map[string]string{}
	for i := range charged + open {
		id, limit := guild(i), max(1_000, rate) // of a minute: more than three times what a guild sends
		if i >= charged {
			limit = -1
		}
		documents["tenant:config:"+id] = fmt.Sprintf(`{"communityId":%q,"guildId":%[1]q,"tier":"pro","rateLimits":`+
			`{"commandsPerMinute":%d,"eligibilityChecksPerHour":-1,"syncRequestsPerDay":-1}}`, id, limit)
	}
	return documents
}

// draw draws an interaction of the load: slowPercent of them are slow, 5 % over a limit, and a tenth are of components.
func draw(rnd *rand.Rand, slowPercent float64) (fakediscord.Interaction, class) {
	g, kind := rnd.IntN(charged+open), quick
	switch n := rnd.Float64() * 100; {
	case n < slowPercent:
		kind = slow
	case n >= 95:
		g, kind = charged+open+rnd.IntN(free), over
	}
	component := rnd.IntN(10) == 0
	var i fakediscord.Interaction
	switch {
	case kind == slow && component:
		i = fakediscord.Press(fakediscord.NewID(), slowComponent+":1")
	case kind == slow:
		i = fakediscord.Slash(slowCommand)
	case component:
		i = fakediscord.Press(fakediscord.NewID(), quickComponent+":1")
	default:
		i = fakediscord.Slash(quickCommand, "text", "how fast is this?")
	}
	return i.In(guild(g), fmt.Sprint(uint64(3_000_000_000_000_000_000)+uint64(g*channels+rnd.IntN(channels)))), kind //nolint:gosec // not negative
}
