package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/streams"
)

type provisionCmd struct {
	Apply bool `help:"Make the changes. Without this flag they are only listed."`
	natsFlags
	redisSettings
	streamSettings
}

func (*provisionCmd) Help() string {
	return `Redis holds where the consumers were: a consumer that is made again goes on there. Without Redis all other changes are made.`
}

func (c *provisionCmd) validate(p process) error {
	return validateServers(p, &c.natsFlags, &c.redisSettings)
}

// options makes the options of package streams from the settings.
func (s *streamSettings) options() streams.Options {
	o := streams.Options{Replicas: s.StreamReplicas, MaxAckPending: s.MaxAckPending}
	if s.StreamStorage == "memory" {
		o.Storage = jetstream.MemoryStorage
	}
	return o
}

func (c *provisionCmd) Run(ctx context.Context, p process) error {
	return c.withRecords(&c.redisSettings, func(js jetstream.JetStream, r *streams.Records) error {
		changes, err := streams.Plan(ctx, js, c.options())
		if err != nil {
			return err
		}
		var refused error
		if c.Apply {
			refused = streams.Apply(ctx, js, r, changes)
		}
		err = c.print(p.stdout, map[string]any{"changes": changes, "applied": c.Apply}, func(t *table) {
			for _, change := range changes {
				t.row(change.String())
			}
			for line := range strings.SplitSeq(c.conclusion(changes, refused), "\n") {
				t.row(line)
			}
		})
		return errors.Join(err, refused)
	})
}

// conclusion is the last line for people, or the last two.
func (c *provisionCmd) conclusion(changes []streams.Change, refused error) string {
	fixed := func(change streams.Change) bool { return change.Fixed }
	switch {
	case len(changes) == 0:
		return "streams and consumers are as the settings want them"
	case refused != nil:
		return "JetStream refused some of these changes, see below; what does not need them is made"
	case c.Apply:
		return "all changes are made"
	case slices.ContainsFunc(changes, fixed):
		return "nothing is changed yet: `arrakis provision --apply` makes those changes that\n" +
			"JetStream can make, and says what to do about the others"
	default:
		return "nothing is changed yet: `arrakis provision --apply` makes these changes"
	}
}
