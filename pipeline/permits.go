package pipeline

import (
	"context"
	"log/slog"
	"slices"

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
// are rejected after all, or would be if their tenant were not in shadow mode. A permit that cannot be given back,
// because Redis is away, stays taken until it leaves its window: the error is on the side of rejecting.
type permitReturner struct {
	shards  *shard.Pool[*delivery]
	metrics *metrics
	log     *slog.Logger
	waiting *shard.Mailbox[*shard.Admission]
}

func newPermitReturner(shards *shard.Pool[*delivery], m *metrics, log *slog.Logger) *permitReturner {
	return &permitReturner{shards: shards, metrics: m, log: log, waiting: shard.NewMailbox[*shard.Admission](returnQueue)}
}

// put takes the permits of d, if they are to be given back. It does not block.
func (r *permitReturner) put(d *delivery) {
	reserved := (d.status == contract.StatusRateLimited || d.admission.Shadowed) && d.admission.Reservation != ""
	if !reserved && (d.status != contract.StatusExpired && !d.unused || !d.admission.Charged()) {
		return
	}
	if !reserved && !d.unused {
		r.metrics.permitsKept.Inc()
		return
	}
	if n, _ := r.waiting.Offer(&d.admission); n == 0 {
		r.metrics.permitsKept.Inc()
	}
}

// close ends run once nothing waits. No put may follow.
func (r *permitReturner) close() { r.waiting.Close() }

// run gives permits back until close is called and none wait.
func (r *permitReturner) run(ctx context.Context) {
	for all, ok := r.waiting.Take(nil); ok; all, ok = r.waiting.Take(all) {
		for batch := range slices.Chunk(all, returnBatch) {
			if err := r.shards.Release(ctx, batch); err != nil {
				r.metrics.permitsKept.Add(float64(len(batch)))
				r.log.DebugContext(ctx, "permits of expired commands are kept", "permits", len(batch), "err", err)
			}
		}
	}
}
