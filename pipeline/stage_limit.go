package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/contract"
	"arrakis/shard"
)

// limitStage is the second stage. Its shards find the tenant of each message and decide whether the message is
// admitted.
type limitStage struct {
	handlers   *Handlers
	shards     *shard.Pool[*delivery]    // in: their mailboxes
	overload   *overload                 // refuses new commands while there is too much work
	delays     *delayer                  // out: messages over the limit that may be delayed
	laneWriter *laneWriter               // out: admitted messages of communities in a lane
	admitted   *fairQueue                // out: admitted messages
	ended      *shard.Mailbox[*delivery] // out: messages that already have a disposition
}

// run returns when the mailboxes are closed, the shards have decided on all their messages, and no message waits to be
// delayed.
func (s *limitStage) run(work context.Context) error {
	var delays errgroup.Group
	delays.Go(func() error { return s.delays.run(work, s.admit) })
	err := s.shards.Run(work, s.overload.refuse, s.pass)
	s.delays.close()
	return errors.Join(err, delays.Wait())
}

// giveBack gives back what the shards have left after run was aborted. It returns when the mailboxes are closed and
// empty.
func (s *limitStage) giveBack(work context.Context) {
	for d := range s.shards.Abandoned() {
		if d == nil {
			continue // the delayer has it
		}
		d.disposition = aborted()
		_ = s.ended.Put(context.WithoutCancel(work), d) // ended is open: it is closed after this stage has ended
	}
}

// pass passes on a batch that a shard has decided on. Several shards call it at the same time. It sorts the batch in
// place; the admitted messages keep their order.
func (s *limitStage) pass(work context.Context, batch []*delivery) error {
	admitted, taken := 0, false
	for i, d := range batch {
		d.Tenant = d.admission.Tenant
		d.Community = d.Tenant.ID
		if d.Kind == contract.KindAnswer {
			d.Community = answersOf(d.Community)
		}
		if d.trace != nil {
			d.traceLimit(time.Now())
		}
		switch v := &d.admission.Verdict; {
		case d.decided(): // it is expired or refused
		case !v.Allowed && s.delays.take(d):
			batch[i], taken = nil, true
		case v.Allowed || d.admission.LetPass():
			batch[i], batch[admitted] = batch[admitted], d
			admitted++
		default:
			d.disposition = rejected(v.Unavailable, d.awaited(), v.RetryAfter)
		}
	}
	rest := batch[admitted:]
	if taken {
		rest = slices.DeleteFunc(rest, func(d *delivery) bool { return d == nil })
	}
	if err := s.ended.Put(context.WithoutCancel(work), rest...); err != nil { // the metrics stage takes also after an abort
		return err
	}
	return s.admit(work, batch[:admitted])
}

// admit hands over admitted messages, and gives back those that the shutdown has left no time for.
func (s *limitStage) admit(work context.Context, batch []*delivery) error {
	for _, d := range batch {
		d.function, _ = s.handlers.find(d.Kind, d.Name(d.Kind))
		d.remote = d.function == nil && !d.comesAgain()
	}
	rest := s.handOver(batch)
	for _, d := range rest {
		d.disposition = aborted()
	}
	return s.ended.Put(context.WithoutCancel(work), rest...)
}

// handOver hands admitted messages over to their lanes or to the fair queue. It returns those that the queue does not
// take, because it was aborted. No lane opens or closes meanwhile, so the messages of a community stay in order.
func (s *limitStage) handOver(batch []*delivery) (rest []*delivery) {
	s.laneWriter.registry.Hold()
	defer s.laneWriter.registry.Release()
	batch = s.laneWriter.take(batch)
	if s.admitted.put(batch) {
		return nil
	}
	return batch
}
