package pipeline

import (
	"context"
	"log/slog"

	"arrakis/pipeline/contract"
	"arrakis/shard"
)

const (
	// returnQueue is how many messages wait for their permits to be given back. While the queue is full, further
	// permits are kept, so that neither handlers nor acks wait for Redis.
	returnQueue = 8_192
	// returnBatch is how many messages' permits are given back in one round trip.
	returnBatch = 1_000
)

// permitReturner gives back the permits of commands that expired before their turn, and those reserved for messages that
// are rejected after all. A permit that cannot be given back, because Redis is away, stays taken until it leaves its
// window: the error is on the side of rejecting.
type permitReturner struct {
	shards  *shard.Pool[*delivery]
	metrics *metrics
	log     *slog.Logger
	waiting chan *shard.Admission // put sends, close closes, run receives
}

func newPermitReturner(shards *shard.Pool[*delivery], m *metrics, log *slog.Logger) *permitReturner {
	return &permitReturner{shards: shards, metrics: m, log: log, waiting: make(chan *shard.Admission, returnQueue)}
}

// put takes the permits of d, if they are to be given back. It does not block.
func (r *permitReturner) put(d *delivery) {
	reserved := d.status == contract.StatusRateLimited && d.admission.Reservation != ""
	if !reserved && (d.status != contract.StatusExpired && !d.unused || !d.admission.Charged()) {
		return
	}
	if !reserved && !d.unused {
		r.metrics.permitsKept.Inc()
		return
	}
	select {
	case r.waiting <- &d.admission:
	default:
		r.metrics.permitsKept.Inc()
	}
}

// close ends run once nothing waits. No put may follow.
func (r *permitReturner) close() { close(r.waiting) }

// run gives permits back until close is called. It takes all that wait as one batch.
func (r *permitReturner) run(ctx context.Context) {
	var batch []*shard.Admission
	for a := range r.waiting {
		batch = append(batch[:0], a)
		for more := true; more && len(batch) < returnBatch; {
			select {
			case a, ok := <-r.waiting:
				if more = ok; ok {
					batch = append(batch, a)
				}
			default:
				more = false
			}
		}
		if err := r.shards.Release(ctx, batch); err != nil {
			r.metrics.permitsKept.Add(float64(len(batch)))
			r.log.DebugContext(ctx, "permits of expired commands are kept", "permits", len(batch), "err", err)
		}
		clear(batch)
	}
}
