package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// silence is how long nothing must come, after half a batch has come, before a source looks whether JetStream has a
	// pull request; and, if it has none, how long nothing must come from then on before the source pulls again.
	silence = 50 * time.Millisecond
	// lookAgain is the least time between two such looks.
	lookAgain = 250 * time.Millisecond
	// blocked stands for the number of messages received at a tick at which receive had to wait for room: what it has not
	// received by the next tick is no silence.
	blocked = -1
)

// watch waits until ctx ends, for which it returns nil, or for a reason to end the pull requests.
func (s *source) watch(ctx context.Context, consume jetstream.ConsumeContext) error {
	var (
		tick <-chan time.Time // nil while it is not known that half a batch has come
		seen int64            // messages received at the last tick
		none bool             // at the last tick, JetStream had no request
	)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.lost:
			return err
		case <-consume.Closed():
			return errors.New("the subscription was closed")
		case <-s.passed:
			if tick == nil {
				tick = time.After(max(silence, lookAgain-time.Since(s.looked)))
			}
			continue
		case <-tick:
		}
		last := seen
		if seen = s.received.Load(); s.messages.Full() {
			seen = blocked
		}
		switch {
		case seen == blocked || seen != last:
			tick, none = time.After(silence), false
		case none:
			s.log.DebugContext(ctx, "JetStream has no pull request: pulling again")
			return errPullAgain
		default:
			if s.looked, tick = time.Now(), nil; !s.requested(ctx) {
				tick, none = time.After(silence), true // unless what was requested is on its way
			}
		}
	}
}

// requested reports whether JetStream has a pull request of some process. It must have one whenever nothing comes. But
// the NATS library can miss that none of its own is left: it does not send the next while a goroutine still sends the
// last, and on a busy machine all that was requested may come meanwhile (fetchInProgress, nats.go 1.55). Then this
// process would wait until heartbeats are missed.
func (s *source) requested(ctx context.Context) bool {
	consumer, err := s.lookUp(ctx)
	return err != nil || consumer.CachedInfo().NumWaiting > 0
}
