package lanes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// lookTimeout bounds a look at OVERFLOW.
const lookTimeout = 2 * time.Second

// waiting is what OVERFLOW holds of one community and kind.
type waiting struct {
	messages uint64
	lane     int // the number of a lane that holds some of them
}

// overflow is what a look at OVERFLOW has found.
type overflow struct {
	waiting   map[Key]waiting
	consumers []int // the numbers of the lanes that have a consumer
	messages  uint64
	bytes     uint64
	bound     int64         // of bytes; below 1: none
	oldest    time.Duration // age of the oldest message by the server's clock; 0 without messages
	ahead     time.Duration // by which the server's clock is ahead of this process's
}

// lookAtOverflow reads the state of OVERFLOW and of its subjects. The error is [jetstream.ErrStreamNotFound] if it does
// not exist.
func lookAtOverflow(ctx context.Context, js jetstream.JetStream) (o overflow, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, contract.StreamOverflow)
	if err != nil {
		return o, fmt.Errorf("look at stream %s: %w", contract.StreamOverflow, err)
	}
	info := stream.CachedInfo()
	o.bound = info.Config.MaxBytes
	if info.State.Consumers > 0 {
		names := stream.ConsumerNames(ctx)
		for name := range names.Name() {
			if lane, ok := contract.LaneOfConsumer(name); ok {
				o.consumers = append(o.consumers, lane)
			}
		}
		if err := names.Err(); err != nil {
			return o, fmt.Errorf("look at the consumers of %s: %w", contract.StreamOverflow, err)
		}
	}
	if info.State.Msgs == 0 {
		return o, nil
	}
	if info, err = stream.Info(ctx, jetstream.WithSubjectFilter("overflow.*.*.*")); err != nil {
		return o, fmt.Errorf("look at the subjects of %s: %w", contract.StreamOverflow, err)
	}
	o.read(info)
	return o, nil
}

// read reads the state of the stream with its subjects.
func (o *overflow) read(info *jetstream.StreamInfo) {
	o.messages, o.bytes = info.State.Msgs, info.State.Bytes
	if o.messages > 0 {
		o.oldest = max(0, info.TimeStamp.Sub(info.State.FirstTime))
	}
	o.ahead = time.Until(info.TimeStamp)
	o.waiting = make(map[Key]waiting)
	for subject, messages := range info.State.Subjects {
		kind, community, lane, ok := contract.ParseLaneSubject(subject)
		if !ok || messages == 0 {
			continue
		}
		key := Key{kind, community}
		w := o.waiting[key]
		o.waiting[key] = waiting{w.messages + messages, lane}
	}
}

// missing reports whether err says that there is no OVERFLOW.
func missing(err error) bool { return errors.Is(err, jetstream.ErrStreamNotFound) }
