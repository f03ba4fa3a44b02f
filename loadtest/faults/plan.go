package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"arrakis/loadtest/program"
)

// faultKind is a kind of fault.
type faultKind struct {
	name      string
	nodes     int  // nats-servers that it needs at least
	clock     bool // needs a clock of Redis that can be stepped
	redisAway bool // keeps a worker from Redis
	slots     int  // of time that it takes, 0 is 1
	// inject injects the fault and ends it. It names in f what it has hit, and returns when the fault is over.
	inject func(ctx context.Context, r *run, draw *rand.Rand, f *fault) error
}

// fault is a fault of a run.
type fault struct {
	Kind      string
	Target    string        // what it hit
	At        time.Duration // after the start of the load
	For       time.Duration
	Recovered time.Duration // from its end until every server and worker was ready
}

// faultKinds are all kinds of faults.
var faultKinds = []faultKind{
	{name: "worker killed", inject: killWorker},
	{name: "worker frozen", inject: freezeWorker},
	{name: "worker drained", inject: drainWorker},
	{name: "nats-server killed", inject: killNATS},
	{name: "nats-server frozen", inject: freezeNATS},
	{name: "redis-server killed", redisAway: true, inject: killRedis},
	{name: "redis-server frozen", redisAway: true, inject: freezeRedis},
	{name: "clock of Redis set forward", clock: true, redisAway: true, inject: stepForward},
	{name: "clock of Redis set back", clock: true, redisAway: true, inject: stepBack},
	{name: "worker cut off from NATS", inject: cutNATS},
	{name: "worker cut off from Redis", redisAway: true, inject: cutRedis},
	{name: "delay to NATS", inject: delayNATS},
	{name: "delay to Redis", redisAway: true, inject: delayRedis},
	{name: "half-open to NATS", inject: silenceNATS},
	{name: "half-open to Redis", redisAway: true, inject: silenceRedis},
	{name: "stream full", inject: fillCommands},
	{name: "lanes full", inject: fillLanes},
	{name: "dead letters refused", inject: fillDeadLetters},
	{name: "markers of lanes lost", inject: loseMarkers},
	{name: "handlers hang", inject: hangHandlers},
	{name: "no handlers", inject: stopHandlers},
	{name: "message kills its workers", slots: 5, inject: poison},
	{name: "leader killed", nodes: 3, inject: killLeader},
	{name: "stream leader stepped down", nodes: 3, inject: stepDownStream},
	{name: "consumer leader stepped down", nodes: 3, inject: stepDownConsumer},
}

// kindNames are the names of all kinds.
func kindNames() []string {
	names := make([]string, len(faultKinds))
	for i, k := range faultKinds {
		names[i] = k.name
	}
	return names
}

// kindsNamed returns the kinds with the names, or a name that no kind has.
func kindsNamed(names []string) (kinds []faultKind, unknown string) {
	for _, name := range names {
		i := slices.IndexFunc(faultKinds, func(k faultKind) bool { return k.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, name
		}
		kinds = append(kinds, faultKinds[i])
	}
	return kinds, ""
}

// plan draws the faults of a run. No kind comes again before all others have come. clock says that the clock of Redis
// can be stepped.
func plan(draw *rand.Rand, o options, clock bool) ([]faultKind, error) {
	var possible []faultKind
	for _, k := range o.kinds {
		if k.nodes <= o.nodes && (clock || !k.clock) {
			k.slots = max(1, k.slots)
			possible = append(possible, k)
		}
	}
	if len(possible) == 0 {
		return nil, fmt.Errorf("%w: none of the faults can be injected here, with --nodes %d; see --help", program.ErrUsage, o.nodes)
	}
	var faults []faultKind
	for n := o.faults; len(faults) < n; {
		draw.Shuffle(len(possible), func(i, j int) { possible[i], possible[j] = possible[j], possible[i] })
		faults = append(faults, possible[:min(len(possible), n-len(faults))]...)
	}
	return faults, nil
}

// between draws a time.
func between(draw *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(draw.Int64N(int64(most-least)))).Round(10 * time.Millisecond)
}
