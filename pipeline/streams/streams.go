// Package streams creates the JetStream streams and consumers of arrakis, compares existing ones with the settings, and
// keeps watch over them.
//
// A worker calls [Ensure] at start. Ensure creates missing streams and consumers. It logs each difference of an
// existing one and does not change it, because an operator may have set it on purpose. `arrakis provision` calls
// [Plan] and [Apply]; only Apply changes what exists. `arrakis status` calls [Look], which changes nothing. All may run
// in several processes at the same time.
//
// While workers run, one [Keeper] at a time looks at the streams every few seconds and keeps in [Records], that is in
// Redis: the ack floor of each consumer, so that one that is lost goes on where it was, and the number of messages that
// a stream has dropped before a worker saw them, which the comment of tally explains. It also makes dead letters of
// messages whose subject nobody reads, and of those that the NATS library shows to no worker. docs/streams.md says what
// users may rely on.
package streams

import (
	"cmp"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// Options are the settings of streams and consumers that operators choose. The zero value is usable.
type Options struct {
	// Storage holds the messages of every stream but INTERNAL, which is always in memory. The zero value is
	// jetstream.FileStorage.
	Storage jetstream.StorageType
	// Replicas is how many servers hold each stream, 1 to 5. Defaults to 1.
	Replicas int
	// MaxAckPending is how many messages of one consumer may be unacknowledged over all processes. Defaults to
	// 10,000.
	MaxAckPending int
}

// WithDefaults returns the options with a default for every zero field.
func (o Options) WithDefaults() Options {
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.MaxAckPending = cmp.Or(o.MaxAckPending, 10_000)
	return o
}

const (
	gigabyte = 1 << 30
	day      = 24 * time.Hour
)

// stream is one stream as arrakis wants it, with its consumers.
type stream struct {
	config    jetstream.StreamConfig
	consumers []jetstream.ConsumerConfig
	// optional says that workers do without the stream if it cannot be made, though less well.
	optional bool
	// level is the level of JetStream's API that the stream needs. On a server below it the stream is not wanted.
	level int
}

const (
	// maxInternal bounds the messages of INTERNAL, which reserves no bytes: of each subject it keeps the last.
	maxInternal     = 4_000
	maxInternalSize = 64 << 10 // bytes of one
	// answersAge is well above the time for which Discord takes an answer, so that none leaves the stream uncounted.
	answersAge = time.Hour
)

// levelSchedules is the level of JetStream's API that has scheduled messages, of server 2.12.
const levelSchedules = 2

// wanted returns the streams that arrakis wants under o, with the consumers of the routes.
func wanted(o Options) []stream {
	o = o.WithDefaults()
	config := func(name, subjects string, maxAge time.Duration, maxBytes int64) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{subjects}, Retention: jetstream.LimitsPolicy,
			MaxAge: maxAge, MaxBytes: maxBytes, Storage: o.Storage, Replicas: o.Replicas,
		}
	}
	// queue is for messages that must not be lost: a message leaves when it is acknowledged, and a full stream refuses
	// new messages, so that nobody's flood evicts the messages of others.
	queue := func(c jetstream.StreamConfig) jetstream.StreamConfig {
		c.Retention, c.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardNew
		return c
	}
	// A stream with schedules cannot refuse messages when it is full; workers keep it below its bound.
	retry := config(contract.StreamRetry, "retry.>", day, gigabyte)
	retry.Subjects = append(retry.Subjects, "again.>")
	retry.Retention, retry.AllowMsgSchedules, retry.AllowRollup = jetstream.WorkQueuePolicy, true, true
	overflow := queue(config(contract.StreamOverflow, "overflow.>", day, gigabyte))
	overflow.MaxMsgsPerSubject, overflow.DiscardNewPerSubject = maxLaneMessages, true
	internal := config(contract.StreamInternal, "internal.>", time.Minute, -1)
	internal.Storage = jetstream.MemoryStorage
	internal.MaxMsgsPerSubject, internal.MaxMsgs, internal.MaxMsgSize = 1, maxInternal, maxInternalSize
	all := []stream{
		{config: queue(config(contract.StreamCommands, "commands.>", day, 4*gigabyte))},
		{config: config(contract.StreamEvents, "events.>", 5*time.Minute, gigabyte)},
		{config: queue(config(contract.StreamEligibility, "eligibility.>", 7*day, gigabyte))},
		{config: internal, optional: true},
		{config: config(contract.StreamDeadLetter, "deadletter.>", 30*day, gigabyte)},
		// Last, so that they take no space from those above.
		{config: retry, optional: true, level: levelSchedules},
		{config: overflow, optional: true},
		{config: queue(config(contract.StreamAnswers, "answers.>", answersAge, gigabyte/4)), optional: true},
	}
	for i := range all {
		all[i].consumers = consumers(all[i].config.Name, o)
	}
	return all
}

// consumers returns the durable consumers of a stream: one for each route, and those of messages that arrakis stores
// again.
func consumers(stream string, o Options) []jetstream.ConsumerConfig {
	var configs []jetstream.ConsumerConfig
	for _, r := range contract.Routes() {
		if r.Stream == stream {
			configs = append(configs, consumer(r.Consumer, r.Filter(), r.AckWait, o))
		}
	}
	if stream == contract.StreamRetry {
		configs = append(configs, consumer(contract.ConsumerRetry, contract.RetryTarget(">"), retryAckWait, o))
	}
	if stream == contract.StreamOverflow { // the consumers of lanes are made when they are needed
		configs = append(configs, consumer(contract.ConsumerParked, contract.ParkedFilter, retryAckWait, o))
	}
	return configs
}

// retryAckWait is the ack wait of consumers that have messages of all kinds.
const retryAckWait = time.Minute

func consumer(name, filter string, ackWait time.Duration, o Options) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		// The worker itself makes dead letters. A consumer with a maximum would stop delivering a message, which would be
		// lost without notice.
		MaxDeliver:    -1,
		MaxAckPending: o.MaxAckPending,
	}
}
