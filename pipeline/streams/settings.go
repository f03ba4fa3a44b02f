package streams

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// setting is one setting of a Config that arrakis checks: how to show it to people, and how to copy it. All other
// settings of an existing stream or consumer belong to the operator.
type setting[Config any] struct {
	name string
	show func(c *Config) string
	set  func(to, from *Config)
	// fixed says that JetStream refuses to change the setting, or refuses some values. Then the stream or consumer must
	// be deleted and created again.
	fixed bool
}

const replicas = "replicas" // the name of the setting

var streamSettings = []setting[jetstream.StreamConfig]{
	{
		name: "subjects",
		show: func(c *jetstream.StreamConfig) string { return sorted(c.Subjects) },
		set:  func(to, from *jetstream.StreamConfig) { to.Subjects = from.Subjects },
	},
	{
		name: "retention", fixed: true,
		show: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) },
		set:  func(to, from *jetstream.StreamConfig) { to.Retention = from.Retention },
	},
	{
		// In front of the bounds: a stream that refuses new messages loses none when a bound below its size is set.
		name: "discard",
		show: func(c *jetstream.StreamConfig) string { return discard(c.Discard) },
		set:  func(to, from *jetstream.StreamConfig) { to.Discard = from.Discard },
	},
	{
		name: "max_age",
		show: func(c *jetstream.StreamConfig) string { return duration(c.MaxAge) },
		set: func(to, from *jetstream.StreamConfig) {
			to.MaxAge = from.MaxAge
			// A stream may not remember message IDs for longer than it keeps messages.
			to.Duplicates = min(to.Duplicates, from.MaxAge)
		},
	},
	{
		name: "max_bytes",
		show: func(c *jetstream.StreamConfig) string { return limit(c.MaxBytes) },
		set:  func(to, from *jetstream.StreamConfig) { to.MaxBytes = from.MaxBytes },
	},
	{
		name: "storage", fixed: true,
		show: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) },
		set:  func(to, from *jetstream.StreamConfig) { to.Storage = from.Storage },
	},
	{
		name: replicas,
		show: func(c *jetstream.StreamConfig) string { return strconv.Itoa(c.Replicas) },
		set:  func(to, from *jetstream.StreamConfig) { to.Replicas = from.Replicas },
	},
}

// schedules is compared only for a stream that must have them: an operator may give them to any other.
var schedules = setting[jetstream.StreamConfig]{
	name: "schedules",
	show: func(c *jetstream.StreamConfig) string {
		if c.AllowMsgSchedules {
			return "allowed"
		}
		return "not allowed"
	},
	set: func(to, from *jetstream.StreamConfig) {
		to.AllowMsgSchedules, to.AllowRollup = from.AllowMsgSchedules, true
	},
}

var consumerSettings = []setting[jetstream.ConsumerConfig]{
	{
		name: "filter",
		show: func(c *jetstream.ConsumerConfig) string {
			return cmp.Or(c.FilterSubject, sorted(c.FilterSubjects), "everything")
		},
		set: func(to, from *jetstream.ConsumerConfig) {
			to.FilterSubject, to.FilterSubjects = from.FilterSubject, nil
		},
	},
	{
		name: "ack_policy", fixed: true,
		show: func(c *jetstream.ConsumerConfig) string { return c.AckPolicy.String() },
		set:  func(to, from *jetstream.ConsumerConfig) { to.AckPolicy = from.AckPolicy },
	},
	{
		name: "ack_wait",
		show: func(c *jetstream.ConsumerConfig) string { return duration(c.AckWait) },
		set:  func(to, from *jetstream.ConsumerConfig) { to.AckWait = from.AckWait },
	},
	{
		name: "max_deliver",
		show: func(c *jetstream.ConsumerConfig) string { return limit(int64(c.MaxDeliver)) },
		set:  func(to, from *jetstream.ConsumerConfig) { to.MaxDeliver = from.MaxDeliver },
	},
	{
		name: "max_ack_pending",
		show: func(c *jetstream.ConsumerConfig) string { return limit(int64(c.MaxAckPending)) },
		set:  func(to, from *jetstream.ConsumerConfig) { to.MaxAckPending = from.MaxAckPending },
	},
}

func sorted(subjects []string) string {
	return strings.Join(slices.Sorted(slices.Values(subjects)), " ")
}

// discard shows what a full stream discards.
func discard(p jetstream.DiscardPolicy) string {
	if p == jetstream.DiscardNew {
		return "new"
	}
	return "old"
}

// limit shows n. For JetStream, every n below 1 means no limit.
func limit(n int64) string {
	if n <= 0 {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}

func duration(d time.Duration) string {
	if d <= 0 {
		return "unlimited"
	}
	return d.String()
}
