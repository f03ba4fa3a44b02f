// Package streams creates the JetStream streams and consumers that arrakis
// works with, and compares those that exist with what arrakis wants.
//
// [Ensure] is what a worker does at start: it creates what is missing and
// leaves alone what an operator has set otherwise, after logging each
// difference. [Plan] and [Apply] are the two halves of `arrakis provision`:
// only they change what exists. All of them may run in several processes at
// once.
package streams

import (
	"cmp"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// Options are the settings of streams and consumers that operators choose.
// The zero value is usable.
type Options struct {
	// Storage holds the messages of every stream but INTERNAL, which is always
	// in memory. The zero value is jetstream.FileStorage.
	Storage jetstream.StorageType
	// Replicas is how many servers hold each stream, 1 to 5. Defaults to 1.
	Replicas int
	// MaxAckPending is how many messages of one consumer may be unacknowledged
	// over all processes. Defaults to 10,000.
	MaxAckPending int
}

// gigabyte bounds the streams that keep messages for days.
const gigabyte = 1 << 30

// stream is one stream as arrakis wants it, with its consumers.
type stream struct {
	config    jetstream.StreamConfig
	consumers []jetstream.ConsumerConfig
}

// wanted is the JetStream table of DESIGN.md under o, in its order.
func wanted(o Options) []stream {
	config := func(name, subjects string, maxAge time.Duration, maxBytes int64) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{subjects}, Retention: jetstream.LimitsPolicy,
			MaxAge: maxAge, MaxBytes: maxBytes, Storage: o.Storage, Replicas: max(o.Replicas, 1),
		}
	}
	consumer := func(name, filter string, ackWait time.Duration) jetstream.ConsumerConfig {
		return jetstream.ConsumerConfig{
			Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
			// The worker dead-letters by itself: a consumer that stopped
			// delivering would lose the message without a word.
			MaxDeliver:    -1,
			MaxAckPending: cmp.Or(o.MaxAckPending, 10_000),
		}
	}
	const day = 24 * time.Hour

	commands := stream{
		config:    config(contract.StreamCommands, "commands.>", day, -1),
		consumers: []jetstream.ConsumerConfig{consumer(contract.ConsumerCommand, "commands.>", 30*time.Second)},
	}
	commands.config.Retention = jetstream.WorkQueuePolicy
	events := stream{
		config:    config(contract.StreamEvents, "events.>", 5*time.Minute, -1),
		consumers: []jetstream.ConsumerConfig{consumer(contract.ConsumerEvent, "events.>", 15*time.Second)},
	}
	eligibility := stream{
		config: config(contract.StreamEligibility, "eligibility.>", 7*day, gigabyte),
		consumers: []jetstream.ConsumerConfig{
			consumer(contract.ConsumerEligibility, "eligibility.check.>", time.Minute),
			consumer(contract.ConsumerSync, "eligibility.sync.>", 5*time.Minute),
		},
	}
	internal := stream{config: config(contract.StreamInternal, "internal.>", time.Minute, -1)}
	internal.config.Storage = jetstream.MemoryStorage
	deadLetter := stream{config: config(contract.StreamDeadLetter, "deadletter.>", 30*day, gigabyte)}
	return []stream{commands, events, eligibility, internal, deadLetter}
}
