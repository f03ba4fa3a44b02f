package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

const (
	// publishWindow is how many messages are being stored at once while a stream is filled.
	publishWindow = 4_096
	// publishStall is how long the server may keep all of them waiting.
	publishStall = 10 * time.Second
	// runWithin is how long any one run may take.
	runWithin = 2 * time.Minute
)

// newStream makes COMMANDS and its consumer anew, as arrakis makes them, and pauses the consumer.
func (s *servers) newStream(ctx context.Context, storage jetstream.StorageType) error {
	if err := s.js.DeleteStream(ctx, contract.StreamCommands); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream: %w", err)
	}
	err := streams.Ensure(ctx, s.js, nil, streams.Options{Storage: storage}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return s.pause(ctx)
}

// releaseAfter is how far ahead the moment is that a consumer is released at: time for the request to reach the server.
const releaseAfter = 200 * time.Millisecond

// errLate means that a release did not reach the server in time: the machine was busy, and the run is void.
var errLate = errors.New("the consumer was not released in time")

// pause keeps the consumer from delivering for as long as a benchmark may take.
func (s *servers) pause(ctx context.Context) error {
	return s.pauseUntil(ctx, time.Now().Add(time.Hour))
}

// release lets the consumer deliver, from the moment that it returns. The server resumes at the end of a pause on its
// own; a request to resume, or to pause until a moment that has passed, would be in force only with the next heartbeat,
// seconds later. It returns errLate in the latter case.
func (s *servers) release(ctx context.Context) (began time.Time, err error) {
	began = time.Now().Add(releaseAfter)
	if err := s.pauseUntil(ctx, began); err != nil {
		return began, err
	}
	if time.Now().After(began) {
		return began, errLate
	}
	return began, nil
}

func (s *servers) pauseUntil(ctx context.Context, t time.Time) error {
	if _, err := s.js.PauseConsumer(ctx, contract.StreamCommands, contract.ConsumerCommand, t); err != nil {
		return fmt.Errorf("pause the consumer: %w", err)
	}
	return nil
}

// fill stores n messages of a run, each for the community that pick returns.
func (s *servers) fill(ctx context.Context, run uint32, n int, pick func(n int) int) error {
	for i := range n {
		if i%1_000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		msg := &nats.Msg{Subject: workload.Subject, Data: workload.Message(run, i, pick(i))}
		if _, err := s.js.PublishMsgAsync(msg, jetstream.WithStallWait(publishStall)); err != nil {
			return fmt.Errorf("fill the stream: %w", err)
		}
	}
	select {
	case <-s.js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	stream, err := s.js.Stream(ctx, contract.StreamCommands)
	if err != nil {
		return fmt.Errorf("look at the stream: %w", err)
	}
	if got := stream.CachedInfo().State.Msgs; got != uint64(n) { //nolint:gosec // above 0
		return fmt.Errorf("the stream holds %d messages, want %d", got, n)
	}
	return nil
}

// drained polls until all n messages have been acknowledged that the consumer delivers after the first from ones, and
// returns when the last one was, by the server's clock. It calls half, unless that is nil, once half of them are, with
// how many are left.
func (s *servers) drained(ctx context.Context, from uint64, n int, half func(left float64) error) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	var last time.Time
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		consumer, err := s.js.Consumer(ctx, contract.StreamCommands, contract.ConsumerCommand)
		if err != nil {
			return false, err
		}
		info := consumer.CachedInfo()
		left := info.NumPending + uint64(info.NumAckPending) //nolint:gosec // not negative
		if half != nil && left <= uint64(n)/2 {              //nolint:gosec // above 0
			if err := half(float64(left)); err != nil {
				return false, err
			}
			half = nil
		}
		if left > 0 || info.AckFloor.Last == nil {
			return false, nil
		}
		if got := info.Delivered.Consumer - from; got != uint64(n) { //nolint:gosec // above 0
			return false, fmt.Errorf("%d deliveries of %d messages: some were delivered again, the run is void", got, n)
		}
		last = *info.AckFloor.Last
		return true, nil
	})
	if err != nil {
		return last, fmt.Errorf("wait until all messages are acknowledged: %w", err)
	}
	return last, nil
}
