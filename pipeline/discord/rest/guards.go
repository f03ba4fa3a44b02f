package rest

import (
	"context"
	_ "embed" // the script
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nuid"

	"arrakis/limiter"
	"arrakis/limiter/redisscript"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/api"
)

const (
	prefix = "arrakis:discord:" // of all keys in Redis

	// Discord's limits. The second one is not documented.
	interactionWindow, interactionMax = 2 * time.Second, 5
	channelWindow, channelMax         = time.Minute, 30
	// What progress may use of them, so that answers find room. Refusals may use as much of a channel.
	progressInteractionMax, progressChannelMax = 3, 15

	// Discord bans an address for 10,000 invalid calls in the window.
	invalidWindow, invalidMax = 10 * time.Minute, 5_000
	invalidKey                = "invalid"
	maxHold                   = time.Minute // until it is looked again whether invalid calls have left the window

	everything = "all" // the key of what holds all calls back
)

//go:embed hold.lua
var holdSource string

var holdScript = redisscript.New(holdSource)

// permits says what a call asks of the windows of its interaction and its channel.
type permits struct {
	interaction, channel int64 // there must be fewer calls in the windows
	insist               bool  // the call is made without permits too
}

// answers are the permits that an answer needs. A callback that had to wait would come too late.
func answers(way discord.Way, refusal bool) permits {
	if refusal {
		return permits{interactionMax, progressChannelMax, false}
	}
	return permits{interactionMax, channelMax, way == discord.Callback}
}

// progress are the permits that progress needs.
func progress() permits { return permits{progressInteractionMax, progressChannelMax, false} }

// guards hold calls back. See doc.go for what they go by.
type guards struct {
	// set by newGuards, read-only
	limits *limiter.Limiter   // the windows of interactions, channels and invalid calls
	redis  *redisscript.Group // for the holds that are shared
	log    *slog.Logger
	m      *metrics

	holds *holds // what 429s have said
	full  *holds // channels without a free permit, for answers
	half  *holds // channels without one for progress and refusals

	stopped atomic.Bool // there were too many invalid calls
}

func newGuards(o Options, m *metrics) (*guards, error) {
	// A limiter of its own: these keys must not push those of communities out of the memory for outages. The limiter of the
	// process probes Redis for both.
	limits, err := limiter.New(o.Redis, limiter.Options{Prefix: prefix, OnRedisDown: limiter.Local, Health: o.Health, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return &guards{
		limits: limits, redis: redisscript.NewGroup(o.Redis, o.Health), log: o.Logger.With("component", "discord"), m: m,
		holds: newHolds(), full: newHolds(), half: newHolds(),
	}, nil
}

func interactionKey(t *discord.Target) string { return "interaction:" + t.InteractionID }
func channelKey(t *discord.Target) string     { return "channel:" + t.Channel }

// take takes the permits of a call. It returns a LaterError if the call must wait. An error is ctx's.
func (g *guards) take(ctx context.Context, t *discord.Target, need permits) (*LaterError, error) {
	if held := g.known(t, need, time.Now()); held != nil {
		return held, nil
	}
	if held, err := g.shared(ctx, t); held != nil || err != nil {
		return held, err
	}
	return g.permits(ctx, t, need)
}

// known returns how long the call must wait, as far as this process knows.
func (g *guards) known(t *discord.Target, need permits, now time.Time) *LaterError {
	for _, hold := range []struct {
		left time.Duration
		of   string
	}{
		{g.holds.left(everything, now), "all calls"},
		{g.holds.left(channelKey(t), now), "calls of this channel"},
		{g.holds.left(interactionKey(t), now), "calls of this interaction"},
	} {
		if hold.left > 0 {
			return &LaterError{hold.left, "Discord limits " + hold.of}
		}
	}
	if left := g.fullFor(need).left(channelKey(t), now); left > 0 && !need.insist {
		return &LaterError{left, channelFull}
	}
	return nil
}

// fullFor are the channels that are known to have no permit for such a call.
func (g *guards) fullFor(need permits) *holds {
	if need.channel < channelMax {
		return g.half
	}
	return g.full
}

// shared asks Redis, in one round trip, what processes know together: what 429s have said, and how many calls were
// invalid.
func (g *guards) shared(ctx context.Context, t *discord.Target) (*LaterError, error) {
	var all, channel redisscript.Call
	all.Prepare(holdScript, prefix+"hold:"+everything, 0)
	channel.Prepare(holdScript, prefix+"hold:"+channelKey(t), 0)
	looks, err := g.limits.Look(ctx, []string{invalidKey}, []time.Duration{invalidWindow}, &all, &channel)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	g.holds.add(everything, now.Add(heldFor(&all)))
	g.holds.add(channelKey(t), now.Add(heldFor(&channel)))
	if held := g.known(t, permits{insist: true}, now); held != nil {
		return held, nil
	}
	return g.tooManyInvalid(looks[0]), nil
}

// heldFor is the reply of hold.lua, 0 if there is none.
func heldFor(c *redisscript.Call) time.Duration {
	if c.Cmd == nil {
		return 0 // Redis is away
	}
	ms, err := c.Cmd.Int64()
	if err != nil {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// The reasons of permits.
const (
	interactionFull = "the interaction has had its calls of these 2 s"
	channelFull     = "the channel has had its messages of this minute"
)

// permits takes a permit of the interaction and one of its channel, or none.
func (g *guards) permits(ctx context.Context, t *discord.Target, need permits) (*LaterError, error) {
	id := nuid.Next()
	ask := func(key string, most int64, window time.Duration) *limiter.Request {
		return &limiter.Request{Window: limiter.NewWindow(key), Limit: limiter.Limit{Max: most, Window: window}, ID: id}
	}
	batch := []*limiter.Request{ask(interactionKey(t), need.interaction, interactionWindow)}
	if t.Channel != "" {
		batch = append(batch, ask(channelKey(t), need.channel, channelWindow))
	}
	if err := g.limits.AllowBatch(ctx, batch); err != nil {
		return nil, err
	}
	var held *LaterError
	var taken []*limiter.Request
	for n, r := range batch {
		if r.Verdict.Allowed {
			taken = append(taken, r)
			continue
		}
		wait := LaterError{max(r.Verdict.RetryAfter, time.Millisecond), []string{interactionFull, channelFull}[n]}
		if held == nil || held.After < wait.After {
			held = &wait
		}
		if n == 1 {
			g.fullFor(need).add(channelKey(t), time.Now().Add(wait.After))
		}
	}
	if held == nil || need.insist {
		return nil, nil
	}
	if len(taken) > 0 { // a permit that no call uses is given back
		if err := g.limits.ReleaseBatch(ctx, taken); err != nil {
			g.log.DebugContext(ctx, "a permit was not given back", "err", err)
		}
	}
	return held, nil
}

// learn notes what an answer says about the calls that follow.
func (g *guards) learn(ctx context.Context, t *discord.Target, e *api.Error) {
	ctx = context.WithoutCancel(ctx) // it happened, whoever still waits
	if e.Limited != nil {
		g.hold(ctx, t, e.Limited)
	}
	if e.Invalid() {
		g.countInvalid(ctx)
	}
}

// hold holds calls back, as a 429 says.
func (g *guards) hold(ctx context.Context, t *discord.Target, l *api.Limited) {
	key := interactionKey(t)
	switch {
	case l.Scope == api.Global:
		key = everything
		g.log.WarnContext(ctx, "discord limits all calls, answers wait", "after", l.After)
	case l.Scope == api.Shared && t.Channel != "":
		key = channelKey(t)
	}
	g.holds.add(key, time.Now().Add(l.After))
	if key == interactionKey(t) {
		return
	}
	var c redisscript.Call
	c.Prepare(holdScript, prefix+"hold:"+key, l.After.Milliseconds())
	if err := g.redis.Run(ctx, &c); err != nil {
		g.log.DebugContext(ctx, "other processes do not know of a limit", "err", err)
	}
}
