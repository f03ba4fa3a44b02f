package streams

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

const hiddenCause = "no worker can see a message that has the header Status and no body"

// maxVisible bounds how many messages that workers can see a look reads of one consumer, while it looks for hidden ones
// among them. The next look goes on.
const maxVisible = 100

// hidden reports whether no worker can see a message. With this header and without a body, the NATS library takes it
// for what the server says about a pull request, and does not pass it on: with some values it ends the requests. So the
// message would be delivered without end, and hold a place among the unacknowledged messages of its consumer.
func hidden(m *jetstream.RawStreamMsg) bool { return len(m.Data) == 0 && m.Header.Get("Status") != "" }

// reading is up to where the unacknowledged messages of a consumer were looked at.
type reading struct {
	created time.Time // the consumer
	next    uint64    // the sequence to go on with
}

// sweepHidden makes dead letters of hidden messages that consumers have delivered. Redis is not needed, and several
// processes may do it at the same time.
func (k *Keeper) sweepHidden(ctx context.Context, f *finding) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	var errs error
	before := f.budget.left
	for _, c := range f.sample.consumers {
		if route, ours := routeOf(c); ours && mayHide(c) {
			errs = errors.Join(errs, k.sweepDelivered(ctx, f, c, route.Filter()))
		}
	}
	k.tell(ctx, f.stream, hiddenCause, before-f.budget.left, errs)
}

// mayHide reports whether a consumer may have delivered hidden messages. They are never acknowledged, so they come again,
// and fill the places of the consumer. As long as nothing does, healthy messages are not read.
func mayHide(c *jetstream.ConsumerInfo) bool {
	return c.NumRedelivered > 0 || c.NumAckPending > 0 && c.NumAckPending >= c.Config.MaxAckPending
}

// sweepDelivered makes dead letters of the hidden ones among the messages that one consumer has delivered and that are
// not acknowledged. It ends at an error: the message would be the next one again.
func (k *Keeper) sweepDelivered(ctx context.Context, f *finding, c *jetstream.ConsumerInfo, filter string) error {
	key := c.Stream + "/" + c.Name
	at := k.readings[key]
	if !at.created.Equal(c.Created) {
		at = reading{created: c.Created}
	}
	at.next = max(at.next, c.AckFloor.Stream+1)
	defer func() { k.readings[key] = at }()
	for visible := 0; visible < maxVisible && !f.budget.spent(); {
		m, err := Read(ctx, k.o.JetStream, c.Stream, at.next, filter)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Sequence > c.Delivered.Stream {
			return nil
		}
		if !hidden(m) {
			visible++
		} else if err := k.bury(ctx, f, key, m, hiddenCause, false); err != nil {
			return err
		}
		at.next = m.Sequence + 1
	}
	return nil
}

// routeOf returns the route whose consumer c is, if any.
func routeOf(c *jetstream.ConsumerInfo) (route contract.Route, ok bool) {
	for _, r := range contract.Routes() {
		if r.Stream == c.Stream && r.Consumer == c.Name {
			return r, true
		}
	}
	return contract.Route{}, false
}
