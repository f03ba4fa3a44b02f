package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"arrakis/loadtest/faults/audit"
)

// What the communities may do. Windows of an hour and a day do not end within a run, so that all that was admitted in
// them must fit into one limit; those of a minute pass several times.
const (
	openCommunities  = 10 // without limits
	wideCommunities  = 10 // with limits that are never reached
	tightCommunities = 20 // with limits that are used up again and again

	wideLimit                              = 9_000
	tightCommands, tightChecks, tightSyncs = 20, 50, 10

	// A community whose messages over the limit are delayed. It sends more commands than it may, and its window is full
	// when the run begins, so that permits become free from then on, one after the other: commands soon expire.
	patient         = "patient_0"
	patientCommands = 240

	// The communities that flood: one without limits, and one whose limits a burst of commands exceeds, and several of
	// checks.
	openFlood, limitedFlood = "flood_0", "flood_1"
	floodCommands           = burstMessages * 2 / 3
)

// communities returns the limits, by the key that holds each in Redis, and the documents of the tenants, by theirs.
func communities() (limits map[string]audit.Limit, tenants map[string]string) {
	limits, tenants = map[string]audit.Limit{}, map[string]string{}
	add := func(id string, commands, checks, syncs int) {
		tenants["tenant:config:"+id] = fmt.Sprintf(`{"communityId":%q,"guildId":%[1]q,"tier":"pro",`+
			`"rateLimits":{"commandsPerMinute":%d,"eligibilityChecksPerHour":%d,"syncRequestsPerDay":%d}}`, id, commands, checks, syncs)
		if commands > 0 {
			limits[limitKey(id, command.action)] = audit.Limit{Max: commands, Window: 60_000}
			limits[limitKey(id, check.action)] = audit.Limit{Max: checks, Window: 3_600_000}
			limits[limitKey(id, syncing.action)] = audit.Limit{Max: syncs, Window: 86_400_000}
		}
	}
	for i := range openCommunities {
		add(fmt.Sprintf("open_%d", i), -1, -1, -1)
	}
	for i := range wideCommunities {
		add(fmt.Sprintf("wide_%d", i), wideLimit, wideLimit, wideLimit)
	}
	for i := range tightCommunities {
		add(fmt.Sprintf("tight_%d", i), tightCommands, tightChecks, tightSyncs)
	}
	add(patient, patientCommands, wideLimit, wideLimit)
	tenants["tenant:config:"+patient] = strings.Replace(tenants["tenant:config:"+patient], `"rateLimits"`, `"onLimit":"delay","rateLimits"`, 1)
	add(openFlood, -1, -1, -1)
	add(limitedFlood, floodCommands, wideLimit, wideLimit)
	return limits, tenants
}

// kind is a kind of message, as publishers see it.
type kind struct {
	stream, subject, path string
	eventType, checkType  string
	action                string // of its limit; "" if it has none
}

// The kinds.
var (
	command = kind{
		stream: "COMMANDS", subject: "commands.interaction", path: "/v1/commands",
		eventType: "interaction.create", action: "command",
	}
	check = kind{
		stream: "ELIGIBILITY", subject: "eligibility.check.single", path: "/v1/eligibility/checks",
		eventType: "eligibility.check", checkType: "single", action: "eligibility_check",
	}
	syncing = kind{
		stream: "ELIGIBILITY", subject: "eligibility.sync.community_sync", path: "/v1/eligibility/syncs",
		eventType: "eligibility.sync", checkType: "community_sync", action: "sync_request",
	}
	event = kind{stream: "EVENTS", subject: "events.guild.join", path: "/v1/events", eventType: "guild.join"}
)

// What a message makes its handler do. It is a part of the event ID, which is all that a handler needs to know.
const (
	works     = "ok"
	refuses   = "refused"
	stumbles  = "flaky"     // fails once
	fails     = "broken"    // fails every time
	malformed = "malformed" // has no handler
	kills     = "poison"    // kills the worker that hands it to a handler
)

// message is one message of the load.
type message struct {
	audit.Message
	kind
	behaviour string
	community string
	viaHTTP   bool
	async     bool // over HTTP: 202 once it is stored
	body      []byte
}

// newMessage returns message i of the load with the seed. The broken ones are in the first half, so that their attempts
// are over when the load is.
func newMessage(seed uint64, i, total int) *message {
	draw := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // a load, not a secret; i is not negative
	m := &message{behaviour: drawBehaviour(draw, i < total/2)}
	switch n := draw.IntN(100); {
	case n < 70:
		m.kind = command
	case n < 85:
		m.kind = check
	case n < 90:
		m.kind = syncing
	default:
		m.kind = event
	}
	switch n := draw.IntN(100); {
	case n < 35:
		m.community = fmt.Sprintf("open_%d", draw.IntN(openCommunities))
	case n < 70:
		m.community = fmt.Sprintf("wide_%d", draw.IntN(wideCommunities))
	default:
		m.community = fmt.Sprintf("tight_%d", draw.IntN(tightCommunities))
	}
	if m.kind == command && draw.IntN(100) < 8 {
		m.community, m.Replies = patient, true
		m.complete(fmt.Sprintf("%d-%06d-%s", seed, i, m.behaviour))
		return m
	}
	m.viaHTTP = draw.IntN(100) < 15 && m.behaviour != malformed
	// A message that can be over its limit or too old waits for its outcome, which is told to nobody else. Over HTTP,
	// syncs and events never wait.
	switch waits := strings.HasPrefix(m.community, "tight") || m.kind == command; {
	case m.kind == event:
		m.async = m.viaHTTP
		m.Replies = !m.viaHTTP && draw.IntN(2) == 0
	case waits && m.kind == syncing:
		m.viaHTTP, m.Replies = false, true
	case waits:
		m.Replies = !m.viaHTTP
	default:
		m.async = m.viaHTTP && (m.kind == syncing || draw.IntN(2) == 0)
		m.Replies = !m.viaHTTP && draw.IntN(2) == 0
	}
	m.complete(fmt.Sprintf("%d-%06d-%s", seed, i, m.behaviour))
	return m
}

// newFloodMessage returns message i of burst n, of the load with the seed. The communities that flood take turns, each
// with two bursts of checks and then two of commands; some messages are events.
func newFloodMessage(seed uint64, n, i int) *message {
	const beyond = 1 << 40                                                        // the numbers of all other messages
	draw := rand.New(rand.NewPCG(seed, beyond+uint64(n)*burstMessages+uint64(i))) //nolint:gosec // as in newMessage
	m := &message{behaviour: drawBehaviour(draw, true), community: openFlood, kind: check}
	if n%2 == 1 {
		m.community = limitedFlood
	}
	if n/2%2 == 1 {
		m.kind = command
	}
	if draw.IntN(10) == 0 {
		m.kind = event
	}
	waits := m.kind != event && (m.kind == command || m.community == limitedFlood) // as in newMessage
	m.viaHTTP = !waits && draw.IntN(10) == 0 && m.behaviour != malformed
	m.async = m.viaHTTP
	m.Replies = waits || !m.viaHTTP && draw.IntN(2) == 0
	m.complete(fmt.Sprintf("%d-flood%d-%04d-%s", seed, n, i, m.behaviour))
	return m
}

// drawBehaviour draws what a message makes its handler do. broken says that it may fail every time.
func drawBehaviour(draw *rand.Rand, broken bool) string {
	switch n := draw.IntN(1_000); {
	case n < 20:
		return refuses
	case n < 30:
		return stumbles
	case n < 32 && broken:
		return fails
	case n < 34:
		return malformed
	}
	return works
}

// complete gives the message its ID and its body.
func (m *message) complete(id string) {
	m.ID, m.Stream = id, m.stream
	checkType := ""
	if m.checkType != "" {
		checkType = fmt.Sprintf(`"check_type":%q,`, m.checkType)
	}
	m.body = fmt.Appendf(nil, `{"event_id":%q,"event_type":%q,"guild_id":%q,%s"data":{"command_name":"work"}}`,
		id, m.eventType, m.community, checkType)
	switch m.behaviour {
	case malformed:
		m.Reason, m.body = "malformed", m.body[:len(m.body)-1]
	case kills:
		m.Reason = "worker_killed"
	}
}

// limitKey is the key of the limit that the message is under.
func (m *message) limitKey() string { return limitKey(m.community, m.action) }

func limitKey(community, action string) string { return limitPrefix + community + ":" + action }

// limitPrefix is that of the keys of limits in Redis.
const limitPrefix = "ratelimit:"
