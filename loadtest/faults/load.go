package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

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
)

// limits are those of the audit, by the key that holds a limit in Redis, and tenants are the documents.
func communities() (limits map[string]audit.Limit, tenants map[string]string) {
	limits, tenants = map[string]audit.Limit{}, map[string]string{}
	add := func(id string, commands, checks, syncs int) {
		tenants["tenant:config:"+id] = fmt.Sprintf(`{"communityId":%q,"guildId":%[1]q,"tier":"pro",`+
			`"rateLimits":{"commandsPerMinute":%d,"eligibilityChecksPerHour":%d,"syncRequestsPerDay":%d}}`, id, commands, checks, syncs)
		if commands > 0 {
			limits["ratelimit:"+id+":command"] = audit.Limit{Max: commands, Window: 60_000}
			limits["ratelimit:"+id+":eligibility_check"] = audit.Limit{Max: checks, Window: 3_600_000}
			limits["ratelimit:"+id+":sync_request"] = audit.Limit{Max: syncs, Window: 86_400_000}
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
	return limits, tenants
}

// kind is a kind of message, as publishers see it.
type kind struct {
	stream, subject, path, eventType, field string
}

// The kinds.
var (
	command = kind{"COMMANDS", "commands.interaction", "/v1/commands", "interaction.create", ""}
	check   = kind{"ELIGIBILITY", "eligibility.check.single", "/v1/eligibility/checks", "eligibility.check", "single"}
	syncing = kind{"ELIGIBILITY", "eligibility.sync.community_sync", "/v1/eligibility/syncs", "eligibility.sync", "community_sync"}
	event   = kind{"EVENTS", "events.guild.join", "/v1/events", "guild.join", ""}
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
	m := &message{behaviour: works}
	switch n := draw.IntN(1_000); {
	case n < 20:
		m.behaviour = refuses
	case n < 30:
		m.behaviour = stumbles
	case n < 32 && i < total/2:
		m.behaviour = fails
	case n < 34:
		m.behaviour = malformed
	}
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
	tight := strings.HasPrefix(m.community, "tight")
	m.viaHTTP = draw.IntN(100) < 15 && m.behaviour != malformed
	// A message that can be over its limit or too old waits for its outcome, which is told to nobody else. Over HTTP,
	// syncs and events never wait.
	switch waits := tight || m.kind == command; {
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

// complete gives the message its ID and its body.
func (m *message) complete(id string) {
	m.ID, m.Stream = id, m.stream
	m.body = fmt.Appendf(nil, `{"event_id":%q,"event_type":%q,"guild_id":%q,"check_type":%q,"data":{"command_name":"work"}}`,
		id, m.eventType, m.community, m.field)
	if m.field == "" {
		m.body = bytes.Replace(m.body, []byte(`"check_type":"",`), nil, 1)
	}
	switch m.behaviour {
	case malformed:
		m.Reason, m.body = "malformed", m.body[:len(m.body)-1]
	case kills:
		m.Reason = "worker_killed"
	}
}

// limitKey is the key of the limit that the message is under.
func (m *message) limitKey() string {
	action := map[string]string{"commands.interaction": "command", check.subject: "eligibility_check", syncing.subject: "sync_request"}[m.subject]
	return "ratelimit:" + m.community + ":" + action
}

// load publishes messages, each until it is acknowledged.
type load struct {
	seed    uint64
	total   int
	js      jetstream.JetStream
	ingress func() string // the base URL of an ingress
	token   string
	ledger  *audit.Ledger
	quota   func() int // how many messages may be published by now

	next     atomic.Int64
	refused  atomic.Int64 // publishes that a full stream has refused
	retried  atomic.Int64 // publishes that were repeated for any other reason
	messages []*message   // by number; each is written by the goroutine that has taken the number
}

const (
	publishers     = 24
	publishTimeout = 2 * time.Second
	requestTimeout = time.Minute // longer than the ingress lets a request wait
)

// run publishes all messages. It returns when all are acknowledged, or ctx ends.
func (l *load) run(ctx context.Context) error {
	l.messages = make([]*message, l.total)
	g, ctx := errgroup.WithContext(ctx)
	for range publishers {
		g.Go(func() error {
			for {
				i := int(l.next.Add(1) - 1)
				if i >= l.total {
					return nil
				}
				for l.quota() <= i {
					if err := pause(ctx, 5*time.Millisecond); err != nil {
						return err
					}
				}
				m := newMessage(l.seed, i, l.total)
				l.messages[i] = m
				if err := l.publish(ctx, m); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// publish publishes one message until it is acknowledged.
func (l *load) publish(ctx context.Context, m *message) error {
	l.ledger.Publish(m.Message)
	send := l.send
	if m.viaHTTP {
		send = l.post
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := send(ctx, m)
		if err == nil {
			l.ledger.Acknowledge(m.ID)
			return nil
		}
		var never permanentError
		if errors.As(err, &never) {
			return fmt.Errorf("message %s: %w", m.ID, err)
		}
		if full(err) {
			l.refused.Add(1)
		} else {
			l.retried.Add(1)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// permanentError is an answer that no message of the load may get.
type permanentError string

func (e permanentError) Error() string { return string(e) }

// full reports whether a stream was full.
func full(err error) bool {
	const streamStoreFailed = 10077 // the error code of JetStream for what it cannot store, for a full stream as well
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == streamStoreFailed
}

// send publishes over NATS.
func (l *load) send(ctx context.Context, m *message) error {
	msg := nats.NewMsg(m.subject)
	msg.Data = m.body
	msg.Header.Set(jetstream.MsgIDHeader, m.ID)
	msg.Header.Set(idHeader, m.ID)
	if m.Replies {
		msg.Header.Set("Arrakis-Reply-To", inboxPrefix+m.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := l.js.PublishMsg(ctx, msg)
	return err
}

// idHeader keeps the event ID with a message whose body cannot be read.
const idHeader = "Faults-Id"

// inboxPrefix is the prefix of the inboxes of the load, behind which the event ID follows.
const inboxPrefix = "_INBOX.faults."

// post publishes over HTTP. A nil error means that the message is stored, and usually that its outcome is here.
func (l *load) post(ctx context.Context, m *message) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.ingress()+m.path, bytes.NewReader(m.body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	req.Header.Set("Content-Type", "application/json")
	if m.async {
		req.Header.Set("Prefer", "respond-async")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	switch code := resp.StatusCode; code {
	case http.StatusOK:
		l.ledger.Tell(m.ID, "ok", 0)
	case http.StatusTooManyRequests:
		l.ledger.Tell(m.ID, "rate_limited", code)
	case http.StatusGone:
		l.ledger.Tell(m.ID, "expired", code)
	case http.StatusForbidden: // the code with which the handler refuses
		l.ledger.Tell(m.ID, "error", code)
	case http.StatusAccepted, http.StatusBadGateway, http.StatusGatewayTimeout: // stored
	case http.StatusServiceUnavailable, http.StatusConflict:
		return fmt.Errorf("%s: %s", resp.Status, text)
	default:
		if code < 500 {
			return permanentError(fmt.Sprintf("the ingress answers %s: %s", resp.Status, text))
		}
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}

// outcome is what is read of an outcome.
type outcome struct {
	EventID string `json:"event_id"`
	Status  string `json:"status"`
	Error   struct {
		Code int `json:"code"`
	} `json:"error"`
}

// parseOutcome reads an outcome, and reports whether it is one.
func parseOutcome(data []byte) (o outcome, ok bool) {
	// Headers come first, if there are any.
	at := bytes.Index(data, []byte(`{"event_id"`))
	if at < 0 {
		return o, false
	}
	err := json.Unmarshal(data[at:], &o)
	return o, err == nil && o.Status != ""
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
