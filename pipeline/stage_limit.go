package pipeline

import (
	"context"

	"arrakis/pipeline/contract"
)

// limited is where the second stage, the shards, leaves a batch: what was
// admitted goes to its handler, the rest to its end. Many shards call it at
// once. It sorts the batch in place; what is admitted keeps its order.
func (p *Pipeline) limited(work context.Context, batch []*delivery) error {
	admitted := 0
	for i, d := range batch {
		r := &d.admission
		d.Tenant = r.Tenant
		d.Community = r.Tenant.ID
		switch v := &r.Verdict; {
		case d.status == contract.StatusExpired:
		case v.Allowed:
			batch[i], batch[admitted] = batch[admitted], d
			admitted++
		default:
			d.conclusion = concludeRefused(v.Unavailable, d.replyTo, v.RetryAfter)
		}
	}
	if err := p.finished.Put(work, batch[admitted:]...); err != nil {
		return err
	}
	return p.admitted.put(work, batch[:admitted])
}
