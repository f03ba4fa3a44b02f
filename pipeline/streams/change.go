package streams

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

func createStream(want jetstream.StreamConfig) Change {
	return Change{Stream: want.Name, apply: func(ctx context.Context, js jetstream.JetStream, r *Records) error {
		made, err := js.CreateStream(ctx, want)
		if hasCode(err, codeServerStorage, codeServerMemory, codeAccountStorage) {
			return fmt.Errorf("%w: the stream reserves %d bytes; give JetStream more (max_file_store, max_memory_store, or the "+
				"account's limit), or create the stream with a smaller max_bytes, as docs/streams.md says; arrakis then uses it as it is", err, want.MaxBytes)
		}
		if err == nil && r != nil {
			r.noteMade(want.Name, made.CachedInfo().Created)
		}
		return tooFewServers(err, want.Replicas)
	}}
}

func createConsumer(stream string, want jetstream.ConsumerConfig) Change {
	return Change{Stream: stream, Consumer: want.Durable, apply: func(ctx context.Context, js jetstream.JetStream, r *Records) error {
		begin := want
		if err := resume(ctx, js, r, stream, &begin); err != nil {
			return err
		}
		_, err := js.CreateConsumer(ctx, stream, begin)
		return err
	}}
}

// resume makes a consumer that existed before go on after its ack floor. A work queue needs no floor, because it holds
// only what is not acknowledged, and it takes consumers only from its beginning.
func resume(ctx context.Context, js jetstream.JetStream, r *Records, stream string, c *jetstream.ConsumerConfig) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	if r == nil || info.Config.Retention == jetstream.WorkQueuePolicy || info.State.LastSeq == 0 {
		return nil
	}
	floor, err := r.floor(ctx, stream, c.Durable, info.Created, info.TimeStamp)
	if err == nil && floor > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
	}
	return err
}

// changes lists the settings of a stream or a consumer that differ from want. c names the stream or consumer.
func changes[Config any](c Change, settings []setting[Config], is, want *Config,
	update func(context.Context, jetstream.JetStream, setting[Config]) error,
) []Change {
	var changes []Change
	for _, s := range settings {
		c.Setting, c.Is, c.Wanted, c.Fixed = s.name, s.show(is), s.show(want), s.fixed
		if c.Is == c.Wanted {
			continue
		}
		c.apply = func(ctx context.Context, js jetstream.JetStream, _ *Records) error { return update(ctx, js, s) }
		changes = append(changes, c)
	}
	return changes
}

func streamChanges(is, want *jetstream.StreamConfig) []Change {
	settings := streamSettings
	if want.AllowMsgSchedules {
		settings = append(slices.Clip(settings), schedules)
	}
	return changes(Change{Stream: want.Name}, settings, is, want,
		func(ctx context.Context, js jetstream.JetStream, s setting[jetstream.StreamConfig]) error {
			return updateStream(ctx, js, s, want)
		})
}

func consumerChanges(stream string, is, want *jetstream.ConsumerConfig) []Change {
	return changes(Change{Stream: stream, Consumer: want.Durable}, consumerSettings, is, want,
		func(ctx context.Context, js jetstream.JetStream, s setting[jetstream.ConsumerConfig]) error {
			return updateConsumer(ctx, js, stream, s, want)
		})
}

// updateStream changes one setting of a stream and leaves its other settings unchanged.
func updateStream(ctx context.Context, js jetstream.JetStream, s setting[jetstream.StreamConfig], want *jetstream.StreamConfig) error {
	now, err := js.Stream(ctx, want.Name)
	if err != nil {
		return err
	}
	config := now.CachedInfo().Config
	s.set(&config, want)
	if config.Discard == jetstream.DiscardNew && config.Retention == jetstream.LimitsPolicy && want.Retention != config.Retention {
		return fmt.Errorf("not changed while retention is limits: the stream keeps handled messages, and would soon be " +
			"full and refuse all others; change the retention first")
	}
	_, err = js.UpdateStream(ctx, config)
	if s.name == replicas {
		return tooFewServers(err, want.Replicas)
	}
	if err != nil && s.fixed {
		return fmt.Errorf("%w; JetStream cannot change it on a stream that exists: docs/streams.md, "+
			"\"Settings that JetStream cannot change\", says how to make %s again without losing messages", err, want.Name)
	}
	return err
}

// madeAgain says where a consumer that is deleted and made again begins.
const madeAgain = "the new one goes on after the acknowledged messages, as far as workers have kept that in Redis, " +
	"and without it begins with the oldest message of the stream"

// updateConsumer changes one setting of a consumer and leaves its other settings unchanged.
func updateConsumer(ctx context.Context, js jetstream.JetStream, stream string, s setting[jetstream.ConsumerConfig], want *jetstream.ConsumerConfig) error {
	now, err := js.Consumer(ctx, stream, want.Durable)
	if err != nil {
		return err
	}
	config := now.CachedInfo().Config
	s.set(&config, want)
	_, err = js.UpdateConsumer(ctx, stream, config)
	if err != nil && s.fixed {
		return fmt.Errorf("%w; JetStream cannot change it on a consumer that exists: delete it with "+
			"`nats consumer rm %s %s` and apply again; "+madeAgain, err, stream, want.Durable)
	}
	return err
}

// pushConsumer is the change for a push consumer, which no update can turn into a pull consumer.
func pushConsumer(stream, name string) Change {
	return Change{
		Stream: stream, Consumer: name, Setting: "delivery", Is: "push", Wanted: "pull", Fixed: true,
		apply: func(context.Context, jetstream.JetStream, *Records) error {
			return fmt.Errorf("a push consumer cannot be changed to a pull consumer: delete it with `nats consumer rm %s %s` and apply again; "+madeAgain, stream, name)
		},
	}
}
