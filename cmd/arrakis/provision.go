package main

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/streams"
)

type provisionCmd struct {
	Apply bool `help:"Make the changes. Without it they are only listed."`
	outputFlags
	natsSettings
	streamSettings
}

func (c *provisionCmd) validate(process) error { return c.natsSettings.validate() }

// options are the settings as pipeline/streams takes them.
func (s *streamSettings) options() streams.Options {
	o := streams.Options{Replicas: s.StreamReplicas, MaxAckPending: s.MaxAckPending}
	if s.StreamStorage == "memory" {
		o.Storage = jetstream.MemoryStorage
	}
	return o
}

func (c *provisionCmd) Run(ctx context.Context, p process) error {
	nc, err := connectNATS(&c.natsSettings)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	changes, err := streams.Plan(ctx, js, c.streamSettings.options())
	if err != nil {
		return streams.Explain(err)
	}
	err = c.print(p.stdout, map[string]any{"changes": changes, "applied": c.Apply}, func(t *table) {
		for _, change := range changes {
			t.row(change.String())
		}
		switch {
		case len(changes) == 0:
			t.row("streams and consumers are as the settings want them")
		case !c.Apply:
			t.row("nothing is changed yet: `arrakis provision --apply` does it")
		}
	})
	if err != nil || !c.Apply {
		return err
	}
	return streams.Apply(ctx, js, changes)
}
