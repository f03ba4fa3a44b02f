package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/rest"
)

// busyPause is how long an answer waits at least, and twice that at most, that has found too many others on their way to
// Discord.
const busyPause = 2 * time.Second

// failPause is how long an answer waits at least that Discord did not take for a fault of its own, or of the network, and
// maxFailPause how long at most, each less a jitter. Between them it waits for half the time that has passed since the
// interaction.
const failPause, maxFailPause = time.Second, time.Minute

// answersOf is the community under which the answers of a community take turns: of their own, because an answer must not
// wait for the community's commands. An ID that would be too long stays as it is.
func answersOf(community string) string {
	if of := contract.KindAnswer.String() + ":" + community; contract.ValidCommunity(of) {
		return of
	}
	return community
}

// message is an answer as ANSWERS keeps it. Each answer of an interaction is stored once.
func (x *interactions) message(a *discord.Answer, tenantKey, eventID string) (*nats.Msg, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	id := fmt.Sprintf("%s:answer:%d", eventID, len(a.FollowUps))
	if !contract.ValidEventID(id) { // too long
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	body, err := json.Marshal(struct {
		EventID   string          `json:"event_id"`
		EventType string          `json:"event_type"`
		Community string          `json:"community_id"`
		Data      json.RawMessage `json:"data"`
	}{id, contract.AnswerEventType, tenantKey, data})
	if err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	e := contract.Envelope{EventType: contract.AnswerEventType, TenantKey: tenantKey}
	return &nats.Msg{
		Subject: contract.KindAnswer.Route().SubjectFor(&e), Header: nats.Header{nats.MsgIdHdr: {id}}, Data: body,
	}, nil
}

// sendAnswer is the handler of the messages in ANSWERS: one request to Discord each. What follows is a message of its own.
func (x *interactions) sendAnswer(ctx context.Context, m *Message) (any, error) {
	var a discord.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil || !discord.ValidToken(a.Token) {
		return nil, Permanent(http.StatusBadRequest, "this is no answer to an interaction, or its token was taken out")
	}
	select {
	case x.sending <- struct{}{}:
		defer func() { <-x.sending }()
	default: // Discord is slow, and commands need workers too
		return nil, Later(busyPause+rand.N(busyPause), "too many answers are on their way to Discord") //nolint:gosec // jitter
	}
	next, err := x.client.Send(ctx, &a)
	if later, ok := errors.AsType[*rest.LaterError](err); ok {
		return nil, Later(min(later.After, discord.Lifetime), later.Reason) // by then its token has expired, which is counted
	}
	if refused, ok := errors.AsType[*rest.RefusedError](err); ok {
		if x.failures.Allow() {
			x.log.WarnContext(ctx, "Discord refuses an answer", "interaction_id", a.InteractionID, "way", a.Way, "err", refused)
		}
		if !wantsOther(&a, refused) {
			return nil, Permanent(http.StatusBadRequest, "%s", refused.Error())
		}
		next, err = instead(&a), nil
	}
	// No attempt, of which there are few: Discord takes an answer for as long as its token lives. Sent twice it is the same, but
	// a follow-up is not.
	if err != nil && ctx.Err() == nil && a.Way != discord.FollowUp {
		x.discordAway.Do(func() {
			x.log.WarnContext(ctx, "answers cannot be sent to Discord; each is tried again for 15 minutes", "err", err)
		})
		return nil, Later(afterFailure(&a, time.Now()), err.Error())
	}
	if err == nil && next != nil {
		err = x.storeNext(ctx, next, m.TenantKey)
	}
	return nil, err
}

// afterFailure is how long an answer waits that could not be sent at now.
func afterFailure(a *discord.Answer, now time.Time) time.Duration {
	created, _ := discord.Created(a.InteractionID) // Send takes no other
	pause := min(max(now.Sub(created)/2, failPause), maxFailPause)
	return pause - rand.N(pause/4) //nolint:gosec // jitter: the answers of an outage do not come again all at once
}

// wantsOther reports whether the user of an answer that Discord refuses still waits for one: Discord does not like its
// message, such as an embed that is too long, or it is a modal that comes too late.
func wantsOther(a *discord.Answer, refused *rest.RefusedError) bool {
	if a.Refusal || a.Way == discord.FollowUp {
		return false
	}
	if refused.Err == nil {
		return a.Response.IsModal()
	}
	return refused.Err.Status == http.StatusBadRequest || refused.Err.Status == http.StatusRequestEntityTooLarge
}

// instead is the answer in place of one that Discord refuses. It counts as a refusal, so that none follows it.
func instead(a *discord.Answer) *discord.Answer {
	words := discord.Words{Type: a.Type, Locale: a.Locale}
	next := &discord.Answer{
		Target: a.Target, Way: a.Way, Response: words.Say(discord.KeyError, discord.Values{RequestID: a.InteractionID}), Refusal: true,
	}
	if next.Way == discord.Edit {
		next.Way = next.Response.LateWay(a.Type)
	}
	return next
}

// storeNext stores what follows an answer that was sent.
func (x *interactions) storeNext(ctx context.Context, next *discord.Answer, tenantKey string) error {
	eventID := next.InteractionID + ":next"
	if next.Refusal {
		eventID = next.InteractionID + ":instead"
	}
	m, err := x.message(next, tenantKey, eventID)
	if err != nil {
		return err
	}
	if _, err := x.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("store the message that follows: %w", err)
	}
	return nil
}
