package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
)

// deadLetters is the stream of dead letters.
const deadLetters = "DEADLETTER"

// drain waits until no message is on its way any more, and then reads what the streams hold. left are sentences about
// what is not over in time.
func (r *run) drain(ctx context.Context) (left []string, err error) {
	bounded, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	// A message that moves from one stream to another may be missed by one look, and not by two.
	for empty := 0; ; {
		if left, err = r.pending(bounded); err != nil {
			left = append(left, err.Error()) // what could not be asked is not over
		}
		if empty++; len(left) > 0 {
			empty = 0
		}
		if empty == 2 || bounded.Err() != nil {
			break
		}
		_ = program.Pause(bounded, 200*time.Millisecond) // the loop looks at bounded
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(left) > 0 {
		if err := r.readLeft(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.direct.FlushTimeout(10 * time.Second); err != nil { // answers that are on their way to the inbox
		return nil, fmt.Errorf("flush: %w", err)
	}
	return left, r.readDeadLetters(ctx)
}

// pending says what is not over.
func (r *run) pending(ctx context.Context) (left []string, err error) {
	err = program.EachStream(ctx, r.js, func(stream jetstream.Stream) error {
		info := stream.CachedInfo()
		if info.Config.Name == deadLetters {
			return nil
		}
		// A work queue may hold messages that no consumer has: those that are not due yet, and those of a lane that nobody
		// reads.
		if info.Config.Retention == jetstream.WorkQueuePolicy && info.State.Msgs > 0 {
			left = append(left, fmt.Sprintf("%s still holds %d messages", info.Config.Name, info.State.Msgs))
		}
		return program.EachConsumer(ctx, stream, func(c *jetstream.ConsumerInfo) error {
			if n := c.NumPending + uint64(c.NumAckPending); n > 0 { //nolint:gosec // not negative
				left = append(left, fmt.Sprintf("%s has %d messages to deliver and %d unacknowledged", c.Name, c.NumPending, c.NumAckPending))
			}
			return nil
		})
	})
	return left, err
}

// readLeft notes messages that are still in work queues.
func (r *run) readLeft(ctx context.Context) error {
	return program.EachStream(ctx, r.js, func(stream jetstream.Stream) error {
		info := stream.CachedInfo()
		if info.Config.Retention != jetstream.WorkQueuePolicy {
			return nil
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && seq > 0; seq++ {
			msg, err := stream.GetMsg(ctx, seq)
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
			case err != nil:
				return err
			default:
				r.ledger.StillStored(idOf(msg.Header.Get(idHeader), msg.Data))
			}
		}
		return nil
	})
}

// idOf is the event ID of a stored message.
func idOf(header string, body []byte) string {
	if header != "" {
		return header
	}
	return eventID(body)
}

// readDeadLetters notes all dead letters.
func (r *run) readDeadLetters(ctx context.Context) error {
	stream, err := r.js.Stream(ctx, deadLetters)
	if err != nil {
		return err
	}
	left := stream.CachedInfo().State.Msgs
	if left == 0 {
		return nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for ; left > 0; left-- {
		msg, err := messages.Next(jetstream.NextMaxWait(30 * time.Second))
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		subject := msg.Subject()
		r.ledger.DeadLetter(idOf(msg.Headers().Get(idHeader), msg.Data()), subject[strings.LastIndexByte(subject, '.')+1:])
	}
	return nil
}

// watchDropped reads what the workers have counted as dropped, once a second. A worker that is killed takes its count
// along, so the highest one counts.
func (r *run) watchDropped(ctx context.Context) {
	for program.Pause(ctx, time.Second) == nil {
		for _, w := range r.workers {
			r.readDropped(ctx, w)
		}
	}
}

func (r *run) readDropped(ctx context.Context, w *worker) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	body, err := program.Fetch(ctx, "http://"+w.ops+"/metrics", "")
	if err != nil {
		return // it is down
	}
	defer func() { _ = body.Close() }() // it is read
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), `arrakis_unread_dropped_total{stream="`)
		stream, value, ok := strings.Cut(rest, `"} `)
		if n, err := strconv.ParseFloat(value, 64); found && ok && err == nil {
			r.mu.Lock()
			r.dropped[stream] = max(r.dropped[stream], uint64(n))
			r.mu.Unlock()
		}
	}
}

// audit decides.
func (r *run) audit(ctx context.Context, res *result) error {
	for stream, n := range r.dropped {
		r.ledger.Drop(stream, n)
	}
	res.Messages = r.ledger.Result()
	res.TooMany = r.tooMany()

	name, err := r.redis.appendOnly()
	if err != nil {
		return err
	}
	file, err := os.Open(name) //nolint:gosec // of the run
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it is read
	admissions, err := audit.ReadLog(file, limitPrefix, r.steps)
	if err != nil {
		return fmt.Errorf("the admissions of Redis: %w", err)
	}
	if res.Windows, err = audit.Exceeded(admissions, r.limits, r.ledger.Begun, r.excused()); err != nil {
		return err
	}
	if r.o.onRedisDown == "closed" {
		runs := map[string]audit.Run{}
		for _, m := range r.load.messages {
			if _, limited := r.limits[m.limitKey()]; !limited {
				continue
			}
			if written, begun := r.ledger.FirstRun(m.ID); begun {
				runs[m.ID] = audit.Run{Key: m.limitKey(), Written: written}
			}
		}
		res.Without = audit.Unpermitted(runs, admissions)
	}
	return ctx.Err()
}
