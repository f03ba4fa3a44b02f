package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// traffic is the load that `arrakis dev --traffic` makes, so that there is something to see: commands, checks, syncs and
// events of the demo communities at a steady rate, some of them over their limits, slow, failing or malformed, and now
// and then a community that sends far more than its share.
type traffic struct {
	rate int // messages a second, without the bursts
	log  *slog.Logger
}

const (
	trafficTick = 50 * time.Millisecond

	// A burst is a backlog of one enterprise community: slow commands, enough for a lane.
	burstEvery    = 30 * time.Second
	burstMessages = 3_000
	burstSleep    = 300 * time.Millisecond

	// trafficPending bounds the messages that JetStream has not confirmed yet. While there are so many, none is sent.
	trafficPending = 4_000
)

// run publishes until ctx ends. It starts with a burst, so that all kinds of things are seen after a few seconds.
func (t *traffic) run(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(trafficPending),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) {
			t.log.DebugContext(ctx, "a message of the demo traffic was not stored", "subject", m.Subject, "err", err)
		}))
	if err != nil {
		return fmt.Errorf("demo traffic: %w", err)
	}
	tick := time.NewTicker(trafficTick)
	defer tick.Stop()
	burst := time.NewTicker(burstEvery)
	defer burst.Stop()
	owed := 0.0 // messages that are due and not sent yet
	bursts := 0
	t.burst(js, bursts)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-burst.C:
			bursts++
			t.burst(js, bursts)
		case <-tick.C:
			// What a slow machine could not send in a second is left out.
			owed = min(owed+float64(t.rate)*trafficTick.Seconds(), float64(t.rate))
			for ; owed >= 1; owed-- {
				t.publish(js, anyMessage())
			}
		}
	}
}

// burst publishes the backlog of one enterprise community.
func (t *traffic) burst(js jetstream.JetStream, n int) {
	community, _ := demoCommunity(n % demoEnterprise)
	for range burstMessages {
		t.publish(js, commandMessage(community, "sleep", fmt.Sprintf(`{"ms":%d}`, burstSleep.Milliseconds())))
	}
}

// publish sends a message and does not wait for JetStream. What cannot be sent is left out.
func (t *traffic) publish(js jetstream.JetStream, m *nats.Msg) {
	if _, err := js.PublishMsgAsync(m); err != nil && !errors.Is(err, jetstream.ErrTooManyStalledMsgs) {
		t.log.Debug("a message of the demo traffic was not sent", "subject", m.Subject, "err", err)
	}
}

// anyMessage makes a message at random.
func anyMessage() *nats.Msg {
	community := trafficCommunity()
	switch n := rand.N(1_000); { //nolint:gosec // no secret
	case n < 420:
		return commandMessage(community, "ping", "{}")
	case n < 600:
		return commandMessage(community, "echo", `{"page":2}`)
	case n < 700:
		return commandMessage(community, "stats", "{}")
	case n < 840:
		return commandMessage(community, "sleep", fmt.Sprintf(`{"ms":%d}`, 5+rand.N(75))) //nolint:gosec // no secret
	case n < 842:
		return commandMessage(community, "fail", "{}")
	case n < 920:
		return checkMessage("eligibility.check.single", community, "single")
	case n < 925:
		return checkMessage("eligibility.sync.community_sync", community, "community_sync")
	case n < 999:
		return &nats.Msg{Subject: "events.member.update", Data: fmt.Appendf(nil,
			`{"event_id":%q,"event_type":"member.update","guild_id":%q,"data":{}}`, nuid.Next(), community)}
	default:
		return &nats.Msg{Subject: "commands.interaction", Data: fmt.Appendf(nil, `{"guild_id":%q,"data":`, community)}
	}
}

// trafficCommunity picks a community: mostly one of a large tier. The first ones of each tier send most.
func trafficCommunity() string {
	first, n := demoEnterprise+demoPro, demoCommunities-demoEnterprise-demoPro
	switch p := rand.N(100); { //nolint:gosec // no secret
	case p < 65:
		first, n = 0, demoEnterprise
	case p < 88:
		first, n = demoEnterprise, demoPro
	}
	place := rand.Float64() //nolint:gosec // no secret
	id, _ := demoCommunity(first + int(place*place*float64(n)))
	return id
}

func commandMessage(community, command, options string) *nats.Msg {
	return &nats.Msg{Subject: "commands.interaction." + community, Data: fmt.Appendf(nil,
		`{"event_id":%q,"event_type":"interaction.create","guild_id":%q,"user_id":%q,"data":{"command_name":%q,"options":%s}}`,
		nuid.Next(), community, anyUser(), command, options)}
}

func checkMessage(subject, community, checkType string) *nats.Msg {
	return &nats.Msg{Subject: subject + "." + community, Data: fmt.Appendf(nil,
		`{"event_id":%q,"event_type":"eligibility.check","community_id":%q,"user_id":%q,"check_type":%q,"rule_ids":[]}`,
		nuid.Next(), community, anyUser(), checkType)}
}

// anyUser is one of 50 users.
func anyUser() string { return strconv.Itoa(rand.N(50)) } //nolint:gosec // no secret
