package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Change is one difference between what exists and what arrakis wants.
type Change struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer,omitempty"` // "" for the stream itself
	// Setting is the setting that differs. It is "" when the stream or consumer is missing.
	Setting string `json:"setting,omitempty"`
	Is      string `json:"is,omitempty"`
	Wanted  string `json:"wanted,omitempty"`
	// Fixed says that JetStream cannot change the setting, or not to every value. Then the stream or consumer must be
	// deleted and made again.
	Fixed bool `json:"fixed,omitempty"`

	apply func(ctx context.Context, js jetstream.JetStream, r *Records) error
}

// Creates reports whether the change creates a stream or a consumer. Otherwise it changes an existing one.
func (c Change) Creates() bool { return c.Setting == "" }

// String describes the change in one line.
func (c Change) String() string {
	what := "stream " + c.Stream
	if c.Consumer != "" {
		what = "consumer " + c.Stream + "/" + c.Consumer
	}
	if c.Creates() {
		return "create " + what
	}
	return fmt.Sprintf("%s: %s is %s, wanted %s", what, c.Setting, c.Is, c.Wanted)
}

// requestTimeout bounds the look at one stream, and the making of one change. An election in JetStream's cluster
// swallows requests: whoever waits longer learns nothing, and whoever asks again does.
const requestTimeout = 5 * time.Second

// Ensure creates missing streams and consumers. A consumer that existed before goes on after its ack floor, as r knows
// it. Existing streams and consumers are used as they are, and their differences from o are logged. What cannot be
// created keeps nothing else from being created; the error has a line for each. It is ErrFloorUnknown only if all that
// is missing are consumers whose ack floor nobody knows until Redis answers. Several processes may call Ensure at the
// same time.
func Ensure(ctx context.Context, js jetstream.JetStream, r *Records, o Options, log *slog.Logger) error {
	changes, err := Plan(ctx, js, o)
	if err != nil {
		return err
	}
	created, err := create(ctx, js, r, changes, log)
	if err != nil {
		return err
	}
	if created {
		if changes, err = Plan(ctx, js, o); err != nil {
			return err
		}
	}
	for _, c := range changes {
		hint := "`arrakis provision --apply` changes it"
		if c.Fixed {
			hint = "JetStream may not be able to change it: `arrakis provision --apply` says what to do, and docs/streams.md"
		}
		log.Warn("stream differs from the settings and is used as it is",
			"stream", c.Stream, "consumer", c.Consumer, "setting", c.Setting, "is", c.Is, "wanted", c.Wanted, "hint", hint)
	}
	return nil
}

// create makes the changes that create something, and reports whether there are any. Its error is that of Ensure.
func create(ctx context.Context, js jetstream.JetStream, r *Records, changes []Change, log *slog.Logger) (created bool, err error) {
	var refused refusals
	var unknown error            // ErrFloorUnknown of each consumer that waits for Redis
	missing := map[string]bool{} // streams that cannot be created, and so neither can their consumers
	for _, c := range changes {
		if !c.Creates() || missing[c.Stream] {
			continue
		}
		created = true
		limited, cancel := context.WithTimeout(ctx, requestTimeout)
		err := c.apply(limited, js, r)
		cancel()
		switch {
		case err == nil:
			log.Info("created", "stream", c.Stream, "consumer", c.Consumer)
		case existsAlready(err):
		case ctx.Err() != nil:
			refused.add(c, err)
			return created, refused.err() // everything else would fail as well
		case errors.Is(err, ErrFloorUnknown):
			unknown = errors.Join(unknown, fmt.Errorf("%s: %w", c, err))
		default:
			missing[c.Stream] = c.Consumer == ""
			refused.add(c, err)
		}
	}
	switch err = refused.err(); {
	case err == nil:
		return created, unknown
	case unknown == nil:
		return created, err
	default:
		return created, fmt.Errorf("%w\n%v", err, unknown) //nolint:errorlint // not ErrFloorUnknown: more is missing
	}
}

// existsAlready reports whether a create failed because another process created the same stream or consumer a moment
// ago, with other settings.
func existsAlready(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) ||
		errors.As(err, &api) &&
			(api.ErrorCode == jetstream.JSErrCodeConsumerExists || api.ErrorCode == jetstream.JSErrCodeConsumerNameExists)
}

// Plan lists the changes that [Apply] would make, in a fixed order, streams before their consumers. It changes nothing.
func Plan(ctx context.Context, js jetstream.JetStream, o Options) ([]Change, error) {
	var changes []Change
	for _, want := range wanted(o) {
		more, err := planStream(ctx, js, want)
		if err != nil {
			return nil, err
		}
		changes = append(changes, more...)
	}
	return changes, nil
}

// planStream lists the changes of one stream and its consumers.
func planStream(ctx context.Context, js jetstream.JetStream, want stream) (changes []Change, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := js.Stream(ctx, want.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		changes = append(changes, createStream(want.config))
		for _, c := range want.consumers {
			changes = append(changes, createConsumer(want.config.Name, c))
		}
		return changes, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", want.config.Name, err)
	}
	is := s.CachedInfo().Config
	changes = streamChanges(&is, &want.config)
	for _, c := range want.consumers {
		more, err := planConsumer(ctx, s, c)
		if err != nil {
			return nil, fmt.Errorf("look at consumer %s/%s: %w", want.config.Name, c.Durable, err)
		}
		changes = append(changes, more...)
	}
	return changes, nil
}

func planConsumer(ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig) ([]Change, error) {
	stream := s.CachedInfo().Config.Name
	c, err := s.Consumer(ctx, want.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return []Change{createConsumer(stream, want)}, nil
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return []Change{pushConsumer(stream, want.Durable)}, nil
	case err != nil:
		return nil, err
	}
	is := c.CachedInfo().Config
	return consumerChanges(stream, &is, &want), nil
}

// Apply makes the changes, which must come from [Plan]. A consumer that existed before goes on after its ack floor, as
// r knows it. After a change that JetStream refuses, Apply continues with the other changes. The error has a line for
// each refused change, with advice, and one line for all streams that cannot have so many replicas.
func Apply(ctx context.Context, js jetstream.JetStream, r *Records, changes []Change) error {
	var refused refusals
	missing := map[string]bool{} // streams that cannot be created, and so neither can their consumers
	for _, c := range changes {
		if missing[c.Stream] {
			continue
		}
		if err := c.apply(ctx, js, r); err != nil && !existsAlready(err) {
			missing[c.Stream] = c.Creates() && c.Consumer == ""
			refused.add(c, err)
		}
	}
	return refused.err()
}

// Explain adds advice to a known error of JetStream. It returns any other error unchanged.
func Explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: start nats-server with -js, or enable JetStream for the account", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: JetStream does not answer; is it enabled (nats-server -js), and does its cluster have a leader?", err)
	default:
		return err
	}
}
