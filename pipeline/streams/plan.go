package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
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

	apply    func(ctx context.Context, js jetstream.JetStream, r *Records) error
	optional bool // workers do without the stream
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

// stepTimeout bounds the look at one stream or consumer, and the making of one change. An election in JetStream's
// cluster swallows requests: whoever waits longer learns nothing, and whoever asks again does.
const stepTimeout = 5 * time.Second

// ErrNoConsumer means that no consumer can be used, so that a worker would have nothing to do.
var ErrNoConsumer = errors.New("no consumer can be used")

// OptionalError means that a stream that workers can do without does not answer, or cannot be created. All else is well.
type OptionalError struct{ Err error }

func (e *OptionalError) Error() string { return e.Err.Error() }

func (e *OptionalError) Unwrap() error { return e.Err }

// Ensure creates missing streams and consumers. A consumer that existed before goes on after its ack floor, as r knows
// it; it is not made, and the error is ErrFloorUnknown, while nobody knows the floor until Redis answers. Existing
// streams and consumers are used as they are. Their differences from o are logged once nothing is missing.
//
// What does not answer or cannot be created keeps nothing else from being created. The error has a line for each; it is
// ErrNoConsumer if no consumer is left that can be used, and an [*OptionalError] if workers can do without all that is
// missing. Several processes may call Ensure at the same time.
func Ensure(ctx context.Context, js jetstream.JetStream, r *Records, o Options, log *slog.Logger) error {
	p := makePlan(ctx, js, o)
	made, err, optional := create(ctx, js, r, p.changes, log)
	if err = errors.Join(p.err, err); err != nil {
		if p.consumers+made == 0 {
			return fmt.Errorf("%w: %w", ErrNoConsumer, err)
		}
		return err
	}
	if optional = errors.Join(p.optional, optional); optional != nil {
		return &OptionalError{optional}
	}
	if slices.ContainsFunc(p.changes, Change.Creates) {
		// Another process may have been faster, with other settings.
		if p = makePlan(ctx, js, o); p.err != nil {
			return p.err
		}
	}
	for _, c := range p.changes {
		log.Warn("stream differs from the settings and is used as it is",
			"stream", c.Stream, "consumer", c.Consumer, "setting", c.Setting, "is", c.Is, "wanted", c.Wanted, "hint", hint(c, p.changes))
	}
	return nil
}

// hint says how to make c, one of the changes all. [updateStream] refuses to change discard while retention is limits.
func hint(c Change, all []Change) string {
	keepsHandled := func(other Change) bool {
		return other.Stream == c.Stream && other.Consumer == "" && other.Setting == "retention" && other.Is == "limits"
	}
	switch {
	case c.Fixed:
		return "JetStream may not be able to change it: `arrakis provision --apply` says what to do, and docs/streams.md"
	case c.Consumer == "" && c.Setting == "discard" && slices.ContainsFunc(all, keepsHandled):
		return "it can be changed once retention is, which docs/streams.md says how to change"
	default:
		return "`arrakis provision --apply` changes it"
	}
}

// create makes the changes that create something. It returns how many consumers exist thereby that workers need, and
// what was refused, optional streams apart.
func create(ctx context.Context, js jetstream.JetStream, r *Records, changes []Change, log *slog.Logger) (consumers int, err, optional error) {
	var needed, rest refusals
	missing := map[string]bool{} // streams that cannot be created, and so neither can their consumers
	for _, c := range changes {
		if !c.Creates() || missing[c.Stream] {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, stepTimeout)
		err := c.apply(limited, js, r)
		cancel()
		if err == nil {
			log.Info("created", "stream", c.Stream, "consumer", c.Consumer)
		}
		refused := &needed
		if c.optional {
			refused = &rest
		}
		switch {
		case err == nil || existsAlready(err):
			if c.Consumer != "" && !c.optional {
				consumers++
			}
		case ctx.Err() != nil:
			refused.add(c, err)
			return consumers, needed.err(), rest.err() // everything else would fail as well
		default:
			missing[c.Stream] = c.Consumer == ""
			refused.add(c, err)
		}
	}
	return consumers, needed.err(), rest.err()
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
// After an error, which has a line for each stream and consumer that does not answer, the list lacks their changes. A
// stream that the server is too old for is not listed.
func Plan(ctx context.Context, js jetstream.JetStream, o Options) ([]Change, error) {
	p := makePlan(ctx, js, o)
	err := p.optional
	if errors.Is(err, errTooOld) {
		err = nil
	}
	return p.changes, errors.Join(p.err, err)
}

// plan is what was learned of one stream with its consumers, or of all.
type plan struct {
	changes   []Change
	consumers int   // that exist and that workers need
	err       error // a line for each stream and consumer that does not answer
	optional  error // the same for streams that workers can do without
}

// makePlan looks at all streams at the same time, so that all that do not answer cost the time of one.
func makePlan(ctx context.Context, js jetstream.JetStream, o Options) plan {
	all := wanted(o)
	parts := make([]plan, len(all))
	var looks sync.WaitGroup
	for i, want := range all {
		looks.Go(func() { parts[i] = planStream(ctx, js, want) })
	}
	looks.Wait()
	var p plan
	var errs []error
	for _, part := range parts {
		p.changes = append(p.changes, part.changes...)
		p.consumers += part.consumers
		p.optional = errors.Join(p.optional, part.optional)
		if part.err != nil {
			errs = append(errs, part.err)
		}
	}
	if len(errs) > 0 && len(errs) == needed(all) {
		errs = errs[:1] // it is JetStream itself: the others say the same
	}
	p.err = errors.Join(errs...)
	return p
}

// needed is how many of the streams workers need.
func needed(all []stream) (n int) {
	for _, s := range all {
		if !s.optional {
			n++
		}
	}
	return n
}

func planStream(ctx context.Context, js jetstream.JetStream, want stream) plan {
	p := planOne(ctx, js, want)
	if want.optional {
		p.consumers, p.err, p.optional = 0, nil, p.err
		for i := range p.changes {
			p.changes[i].optional = true
		}
	}
	return p
}

func planOne(ctx context.Context, js jetstream.JetStream, want stream) (p plan) {
	limited, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	s, err := js.Stream(limited, want.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if p.err = checkLevel(limited, js, want); p.err != nil {
			return p
		}
		p.changes = append(p.changes, createStream(want.config))
		for _, c := range want.consumers {
			p.changes = append(p.changes, createConsumer(want.config.Name, c))
		}
		return p
	}
	if err != nil {
		p.err = fmt.Errorf("look at stream %s: %w", want.config.Name, err)
		return p
	}
	is := s.CachedInfo().Config
	p.changes = streamChanges(&is, &want.config)
	for _, c := range want.consumers {
		changes, err := planConsumer(ctx, s, c)
		if err != nil {
			p.err = errors.Join(p.err, fmt.Errorf("look at consumer %s/%s: %w", want.config.Name, c.Durable, err))
			continue
		}
		p.changes = append(p.changes, changes...)
		if !slices.ContainsFunc(changes, Change.Creates) {
			p.consumers++
		}
	}
	return p
}

// errTooOld means that the server is too old for a stream.
var errTooOld = errors.New("this nats-server is too old for it")

// checkLevel returns errTooOld if the server is too old for a stream. It would make the stream all the same, and ignore
// the settings that it does not know.
func checkLevel(ctx context.Context, js jetstream.JetStream, want stream) error {
	if want.level == 0 {
		return nil
	}
	info, err := js.AccountInfo(ctx)
	if err == nil && info.API.Level < want.level {
		err = errTooOld
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.config.Name, err)
	}
	return nil
}

func planConsumer(ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig) ([]Change, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
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
