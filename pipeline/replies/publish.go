package replies

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Publish stores msg in a stream; done gets JetStream's ack. It is Send for streams, with what follows from that: done
// gets [nats.ErrDisconnected] as soon as the connection is lost, because then no ack arrives any more; and the errors
// of [Ack]. Nothing is tried again: give msg a Nats-Msg-Id and publish it again.
func (m *Mux) Publish(ctx context.Context, msg *nats.Msg, deadline time.Time, done func(*jetstream.PubAck, error)) error {
	return m.send(ctx, msg, slot{
		fromStream: true, deadline: deadline,
		done: func(reply *nats.Msg, err error) { done(Ack(reply, err)) },
	})
}

// Ack reads JetStream's answer to a published message. The errors are those of [jetstream.JetStream]'s PublishMsg:
// [jetstream.ErrNoStreamResponse] if no stream listens at the subject, a [*jetstream.APIError] if the stream refused
// the message, [jetstream.ErrInvalidJSAck], or err, if there is no answer.
func Ack(reply *nats.Msg, err error) (*jetstream.PubAck, error) {
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, jetstream.ErrNoStreamResponse
	}
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.PubAck
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil || answer.Error == nil && answer.Stream == "":
		return nil, jetstream.ErrInvalidJSAck
	case answer.Error != nil:
		return nil, answer.Error
	}
	return &answer.PubAck, nil
}
