package pipeline

import (
	"context"

	"arrakis/shard"
)

// limitStage is the second stage: the shards, which find each message's tenant
// and decide whether it is admitted.
type limitStage struct {
	shards   *shard.Pool[*delivery]    // in: their mailboxes
	admitted *fairQueue                // out: what a handler is to handle
	ended    *shard.Mailbox[*delivery] // out: what is decided
}

// run returns when the mailboxes are closed and the shards have decided on all
// that was in them.
func (s *limitStage) run(work context.Context) error { return s.shards.Run(work, s.pass) }

// pass passes on a batch that a shard has decided on. Many shards call it at
// once. It sorts the batch in place; what is admitted keeps its order.
func (s *limitStage) pass(work context.Context, batch []*delivery) error {
	admitted := 0
	for i, d := range batch {
		d.Tenant = d.admission.Tenant
		d.Community = d.Tenant.ID
		switch v := &d.admission.Verdict; {
		case d.decided(): // by decode
		case v.Allowed:
			batch[i], batch[admitted] = batch[admitted], d
			admitted++
		default:
			d.disposition = rejected(v.Unavailable, d.replyTo, v.RetryAfter)
		}
	}
	if err := s.ended.Put(work, batch[admitted:]...); err != nil {
		return err
	}
	return s.admitted.put(work, batch[:admitted])
}
