package pipeline

import (
	"context"

	"arrakis/shard"
)

// limitStage is the second stage. Its shards find the tenant of each message and decide whether the message is
// admitted.
type limitStage struct {
	handlers *Handlers
	shards   *shard.Pool[*delivery]    // in: their mailboxes
	overload *overload                 // refuses new commands while there is too much work
	lanes    *laneWriter               // out: admitted messages of communities in a lane
	admitted *fairQueue                // out: admitted messages
	ended    *shard.Mailbox[*delivery] // out: messages that already have a disposition
}

// run returns when the mailboxes are closed and the shards have decided on all their messages.
func (s *limitStage) run(work context.Context) error {
	return s.shards.Run(work, s.overload.refuse, s.pass)
}

// giveBack gives back what the shards have left after run was aborted. It returns when the mailboxes are closed and
// empty.
func (s *limitStage) giveBack(work context.Context) {
	for d := range s.shards.Abandoned() {
		d.disposition = aborted()
		_ = s.ended.Put(context.WithoutCancel(work), d) // ended is open: it is closed after this stage has ended
	}
}

// pass passes on a batch that a shard has decided on. Several shards call it at the same time. It sorts the batch in
// place; the admitted messages keep their order.
func (s *limitStage) pass(work context.Context, batch []*delivery) error {
	admitted := 0
	for i, d := range batch {
		d.Tenant = d.admission.Tenant
		d.Community = d.Tenant.ID
		switch v := &d.admission.Verdict; {
		case d.decided(): // it is expired or refused
		case v.Allowed:
			d.function, _ = s.handlers.find(d.Kind, d.Name(d.Kind))
			d.remote = d.function == nil && !d.comesAgain()
			batch[i], batch[admitted] = batch[admitted], d
			admitted++
		default:
			d.disposition = rejected(v.Unavailable, d.replyTo, v.RetryAfter)
		}
	}
	lasting := context.WithoutCancel(work) // the metrics stage takes also after an abort
	if err := s.ended.Put(lasting, batch[admitted:]...); err != nil {
		return err
	}
	rest := s.handOver(batch[:admitted])
	for _, d := range rest { // the shutdown has left no time for them
		d.disposition = aborted()
	}
	return s.ended.Put(lasting, rest...)
}

// handOver hands admitted messages over to their lanes or to the fair queue. It returns those that the queue does not
// take, because it was aborted. No lane opens or closes meanwhile, so the messages of a community stay in order.
func (s *limitStage) handOver(batch []*delivery) (rest []*delivery) {
	s.lanes.registry.Hold()
	defer s.lanes.registry.Release()
	batch = s.lanes.take(batch)
	if s.admitted.put(batch) {
		return nil
	}
	return batch
}
