package streams

import (
	"context"

	"arrakis/pipeline/contract"
)

// lookAtRetry looks how full RETRY is. It cannot refuse messages, but drops the oldest when it is full, and nobody can
// tell how many: a schedule also leaves it when it fires, is replaced or is purged. Workers stop at nine tenths, so above
// that it is going to be full soon.
func (k *Keeper) lookAtRetry(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	s, err := k.o.JetStream.Stream(ctx, contract.StreamRetry)
	if err != nil {
		k.o.Logger.DebugContext(ctx, "look at a stream", "stream", contract.StreamRetry, "err", err)
		return
	}
	info := s.CachedInfo()
	bytes, bound := signed(info.State.Bytes), info.Config.MaxBytes
	k.retry.Set(float64(bytes))
	full := bound > 0 && bytes > bound/10*9
	switch {
	case full && !k.retryFull:
		k.o.Logger.WarnContext(ctx, "the stream is nearly full, and then drops its oldest messages: it needs a larger bound",
			"stream", contract.StreamRetry, "bytes", bytes, "max_bytes", bound)
	case !full && k.retryFull:
		k.o.Logger.InfoContext(ctx, "the stream is not nearly full any more", "stream", contract.StreamRetry)
	}
	k.retryFull = full
}
