package contender

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

const (
	// plainInFlight is how many requests the plain loop has in flight: as many handlers as arrakis runs by default.
	plainInFlight = 256
	// plainTimeout is the time for one of them.
	plainTimeout = 15 * time.Second
)

// startPlain hands each message to the handler service and acknowledges it when the reply is there: what most would
// write first, without limits, tenants, headers, retries or metrics.
func startPlain(_ context.Context, e *env) (*running, error) { return e.plain(nil) }

// startPlainHeaders is startPlain with the headers of arrakis's requests. They are the same for all requests, and made
// once, so that they cost the loop as little as they can. What is left is what they cost on their way.
func startPlainHeaders(_ context.Context, e *env) (*running, error) {
	event := workload.EventID(1, 1)
	return e.plain(nats.Header{
		contract.HeaderCommunity: {workload.ID(0)},
		contract.HeaderTier:      {string(tenant.Enterprise)},
		contract.HeaderFeatures:  {"advancedAnalytics,customBranding,prioritySupport,unlimitedCommands"},
		contract.HeaderRequestID: {event},
		contract.HeaderEventID:   {event},
		contract.HeaderAttempt:   {"1"},
		contract.HeaderDeadline:  {strconv.FormatInt(time.Now().UnixMilli(), 10)},
	})
}

func (e *env) plain(header nats.Header) (*running, error) {
	subject := contract.HandlerSubject(contract.KindCommand, workload.Command)
	var requests errgroup.Group
	requests.SetLimit(plainInFlight)
	consume, err := e.consumer.Consume(func(m jetstream.Msg) {
		requests.Go(func() error {
			if _, err := e.nc.RequestMsg(&nats.Msg{Subject: subject, Header: header, Data: m.Data()}, plainTimeout); err != nil {
				e.log.Error("not handled", "err", err)
				return nil
			}
			if err := m.Ack(); err != nil {
				e.log.Error("not acknowledged", "err", err)
			}
			return nil
		})
	}, jetstream.PullMaxMessages(pullBatch))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	return &running{stop: func() error {
		consume.Drain()
		<-consume.Closed()
		return requests.Wait()
	}}, nil
}

// startService starts the handler service that answers the plain loops and arrakis: a NATS micro service that returns the
// same result for every message.
func startService(_ context.Context, e *env) (*running, error) {
	service, err := micro.AddService(e.nc, micro.Config{Name: workload.Command, Version: "1.0.0"})
	if err != nil {
		return nil, err
	}
	result := []byte(`{"members":42}`)
	err = service.AddEndpoint(workload.Command, micro.HandlerFunc(func(r micro.Request) {
		if err := r.Respond(result); err != nil {
			e.log.Error("not answered", "err", err)
		}
	}), micro.WithEndpointSubject(contract.HandlerSubject(contract.KindCommand, workload.Command)))
	if err == nil {
		err = e.nc.Flush() // the server knows where to send requests
	}
	if err != nil {
		return nil, err
	}
	return &running{stop: service.Stop}, nil
}
