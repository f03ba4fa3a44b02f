package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// hidden reports whether no worker can see a message. With this header and without a body, the NATS library takes it
// for what the server says about a pull request, and does not pass it on: with some values it ends the requests. So the
// message would be delivered without end, and hold a place among the unacknowledged messages of its consumer.
func hidden(m *jetstream.RawStreamMsg) bool { return len(m.Data) == 0 && m.Header.Get("Status") != "" }

// sweepHidden makes dead letters of the hidden messages that are the first unacknowledged ones of their consumers.
// Those behind others have their turn later: what a worker sees ends. Redis is not needed, and several processes may do
// it at the same time.
func (k *Keeper) sweepHidden(ctx context.Context, s *sample) error {
	var errs []error
	var swept int64
	enough := time.Now().Add(k.o.Interval / 2)
	for _, c := range s.consumers {
		route, ours := routeOf(c)
		if !ours || c.NumAckPending == 0 {
			continue
		}
		for more := true; more && swept < maxSwept && time.Now().Before(enough); {
			var err error
			if more, err = k.deadLetterHidden(ctx, c, route.Filter()); err != nil {
				errs = append(errs, fmt.Errorf("make a dead letter of a message that no worker can see: %w", err))
			}
			if more {
				swept++
			}
		}
	}
	if name := s.stream.Config.Name; swept > 0 && k.mayWarn(name, "hidden") {
		k.o.Logger.WarnContext(ctx, "messages that no worker can see became dead letters: no body, and the header Status",
			"stream", name, "messages", swept)
	}
	return errors.Join(errs...)
}

// deadLetterHidden makes a dead letter of the first unacknowledged message of a consumer. It returns false if that
// message is not hidden, or if there is none.
func (k *Keeper) deadLetterHidden(ctx context.Context, c *jetstream.ConsumerInfo, filter string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	m, err := Read(ctx, k.o.JetStream, c.Stream, c.AckFloor.Stream+1, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil || !hidden(m) {
		return false, err
	}
	err = k.o.DeadLetter(ctx, c.Stream, m, "no worker can see a message that has the header Status and no body")
	if err != nil {
		return false, err
	}
	return true, k.remove(ctx, c.Stream, m.Sequence)
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
