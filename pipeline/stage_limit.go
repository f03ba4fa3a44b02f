package pipeline

import (
	"context"

	"arrakis/pipeline/wire"
)

// limited is where the second stage, the shards, leaves a batch: what was
// admitted goes to its handler, the rest to its end. Many shards call it at
// once.
func (p *Pipeline) limited(work context.Context, batch []*delivery) error {
	admitted := make([]*delivery, 0, len(batch))
	refused := make([]*delivery, 0, len(batch))
	for _, d := range batch {
		r := &d.request
		d.Tenant = r.Tenant
		d.Community = r.Tenant.ID
		switch v := &r.Verdict; {
		case d.status == wire.StatusExpired:
			refused = append(refused, d)
		case v.Allowed:
			admitted = append(admitted, d)
		default:
			d.conclusion = concludeRefused(v.Unavailable, d.replyTo() != "", v.RetryAfter)
			refused = append(refused, d)
		}
	}
	if err := p.finished.Put(work, refused...); err != nil {
		return err
	}
	return p.admitted.put(work, admitted)
}
