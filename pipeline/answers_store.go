package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/discord"
)

const (
	// storeTime is how long JetStream has to store an answer.
	storeTime = 3 * time.Second
	// storePause is the longest time between two tries to store an answer. A shutdown may take that much longer.
	storePause = 3 * time.Second
	// storeTries is how often it is tried at least. What goes on after that needs one of patientAnswers places: it keeps its
	// interaction unacknowledged, and most of a consumer's unacknowledged messages must be others.
	storeTries, patientAnswers = 4, 1_024
)

// lastsUntil is when the token of t ends. One of the future lasts no longer than one of now.
func lastsUntil(t *discord.Target, now time.Time) time.Time {
	if created, ok := discord.Created(t.InteractionID); ok && created.Before(now) {
		now = created
	}
	return now.Add(discord.Lifetime)
}

// store stores an answer in ANSWERS. Without a connection it does not try: the NATS library would keep every try, and store
// each of them later.
func (x *interactions) store(work context.Context, o *outgoing) {
	if !x.nc.IsConnected() {
		x.stored(work, o, nats.ErrDisconnected)
		return
	}
	m, err := x.message(&o.answer, o.tenantKey, o.eventID)
	if err == nil {
		err = x.stores.Publish(work, m, time.Now().Add(storeTime), func(_ *jetstream.PubAck, err error) { x.stored(work, o, err) })
	}
	if err != nil {
		x.stored(work, o, err)
	}
}

// stored ends an answer that is stored, and tries again if it is not. It must not block.
func (x *interactions) stored(work context.Context, o *outgoing, err error) {
	switch {
	case err == nil:
		x.end(o, nil)
	case work.Err() != nil || x.nc.IsClosed(): // another process answers
		x.end(o, err)
	case !x.goesOn(o, err, time.Now()):
		if x.failures.Allow() {
			x.log.WarnContext(work, "an answer is lost: it cannot be stored in ANSWERS", "event_id", o.eventID, "err", err)
		}
		x.client.CountLost()
		x.end(o, nil)
	default:
		if o.patient {
			x.trouble.Do(func() {
				x.log.WarnContext(work, "answers to interactions wait, for 15 minutes at most: ANSWERS does not take them", "err", err)
			})
		}
		if x.nc.IsConnected() {
			_ = o.inProgress() // a failure leads to a redelivery; where the interaction is settled, the refusal is right
		}
		time.AfterFunc(min(time.Duration(max(o.tries, 1))*time.Second, storePause), func() { _, _ = x.toStore.Offer(o) })
	}
}

// goesOn reports whether an answer that could not be stored is tried again: while its token lasts, for as long as there is
// no connection, because then no message comes in that it could be in the way of; otherwise storeTries times, and on if
// it gets a place among those that wait for longer.
func (x *interactions) goesOn(o *outgoing, err error, now time.Time) bool {
	switch {
	case now.After(o.until):
		return false
	case errors.Is(err, nats.ErrDisconnected):
		return true
	case errors.Is(err, nats.ErrMaxPayload):
		if o.large { // what was to be sent in its place is too large as well
			return false
		}
		o.tooLarge()
		return true
	}
	if o.tries++; o.tries < storeTries || o.patient {
		return true
	}
	select {
	case x.patient <- struct{}{}:
		o.patient = true
	default:
	}
	return o.patient
}

// tooLarge says that NATS does not carry the answer with what follows it.
func (o *outgoing) tooLarge() {
	o.large = true
	o.answer.Response, o.answer.FollowUps = o.sorry(), nil
	if o.answer.Way == discord.Edit {
		o.answer.Way = o.answer.Response.LateWay(o.answer.Type)
	}
}
