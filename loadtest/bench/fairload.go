package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/workload"
)

const (
	// quietFirst is the first quiet community, quietCommunities how many there are.
	quietFirst, quietCommunities = 1, 99
	// small is a further community, of the free tier. It publishes smallRate messages a second for a handler of 50 ms, a
	// little more than its part of the handlers beside an enterprise community can do (42 of 256), so that it waits in a
	// lane too.
	small, smallRate = 130, 1_000
	// floodWindow is how many messages of a flood are published and not yet acknowledged by JetStream.
	floodWindow = 256
)

// publisher publishes to COMMANDS on a connection of its own, with a bounded number of messages that JetStream has not
// acknowledged yet.
type publisher struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	run     uint32
	sent    atomic.Int64
	refused atomic.Int64 // that JetStream did not store
}

func (s *servers) newPublisher(name string, window int) (*publisher, error) {
	p := &publisher{run: s.nextRun()}
	var err error
	if p.nc, err = nats.Connect(s.natsURL, nats.Name("bench "+name)); err != nil {
		return nil, fmt.Errorf("connect to nats-server: %w", err)
	}
	p.js, err = jetstream.New(p.nc, jetstream.WithPublishAsyncMaxPending(window),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { p.refused.Add(1) }))
	return p, err
}

// publish publishes one message. While the window is full it waits.
func (p *publisher) publish(body []byte) (jetstream.PubAckFuture, error) {
	f, err := p.js.PublishMsgAsync(&nats.Msg{Subject: workload.Subject, Data: body}, jetstream.WithStallWait(publishStall))
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	p.sent.Add(1)
	return f, nil
}

// complete waits until JetStream has answered for all messages.
func (p *publisher) complete(ctx context.Context) error {
	select {
	case <-p.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// paced is a message that was published at a fixed time.
type paced struct {
	due    time.Time
	stored time.Duration // from then until JetStream had stored it; 0 if it had not at the end
}

// pace publishes a message of the quiet communities in turn, at fixed times, so that each has one a second, until ctx
// ends.
func (p *publisher) pace(ctx context.Context) (all []*paced, err error) {
	var stored sync.WaitGroup
	defer stored.Wait()
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		at := began.Add(time.Duration(n) * time.Second / quietCommunities)
		timer.Reset(time.Until(at))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return all, nil
		}
		community := quietFirst + n%quietCommunities
		body := workload.Timed(p.run, n, community, workload.Quiet, at.UnixMicro(), workload.MessageSize)
		f, err := p.publish(body)
		if err != nil {
			return all, err
		}
		m := &paced{due: at}
		all = append(all, m)
		stored.Go(func() {
			select {
			case <-f.Ok():
				m.stored = time.Since(at)
			case <-f.Err(): //nolint:errcheck // it is not stored; the publisher counts it
			case <-ctx.Done():
			}
		})
	}
}

// steady publishes smallRate messages of the small community a second, until ctx ends.
func (p *publisher) steady(ctx context.Context) error {
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		for ; n < int(smallRate*time.Since(began).Seconds()); n++ {
			if _, err := p.publish(workload.Timed(p.run, n, small, workload.Slow, 0, workload.MessageSize)); err != nil {
				return err
			}
		}
	}
}

// flood is what communities publish as fast as JetStream acknowledges it.
type flood struct {
	communities []int // in turn
	command     string
	messages    int // of all communities
	bytes       int // of each message; 0 is workload.MessageSize
}

// pour publishes a flood. It returns when all is stored, or ctx ends.
func (p *publisher) pour(ctx context.Context, f flood) error {
	size := max(f.bytes, workload.MessageSize)
	for n := 0; ctx.Err() == nil && n < f.messages; n++ {
		body := workload.Timed(p.run, n, f.communities[n%len(f.communities)], f.command, 0, size)
		if _, err := p.publish(body); err != nil {
			return err
		}
	}
	if err := p.complete(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
