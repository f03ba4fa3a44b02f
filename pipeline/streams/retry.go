package streams

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// judgeRetry warns while RETRY is nearly full. It cannot refuse messages, but drops the oldest when it is full, and nobody
// can tell how many: a schedule also leaves it when it fires, is replaced or is purged. Workers stop at nine tenths, so
// above that it is going to be full soon.
func (k *Keeper) judgeRetry(ctx context.Context, info *jetstream.StreamInfo) {
	bytes, bound := signed(info.State.Bytes), info.Config.MaxBytes
	k.retry.Set(float64(bytes))
	full := bound > 0 && bytes > bound/10*9
	switch {
	case full && !k.retryFull:
		k.o.Logger.WarnContext(ctx, "the stream is nearly full, and then drops its oldest messages: it needs a larger bound",
			"stream", info.Config.Name, "bytes", bytes, "max_bytes", bound)
	case !full && k.retryFull:
		k.o.Logger.InfoContext(ctx, "the stream is not nearly full any more", "stream", info.Config.Name)
	}
	k.retryFull = full
}
