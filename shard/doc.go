// Package shard admits messages. It finds the tenant of each message and decides whether the tenant's limits admit the
// message. A [Pool] has a fixed number of shards; the hash of a message's tenant key picks the shard. [Limits] reads
// and resets the usage of limits. A shard decides in the same way for a tenant in shadow mode; what it refuses then passes,
// see [Admission.LetPass].
//
// A shard is an actor: one goroutine owns an LRU of tenants, each with the local windows of its limits, and needs no
// lock. Messages and changes of tenants and limits reach the shard through its [Mailbox]. The shard takes all items in
// the mailbox as one batch. It reads the missing tenants with one MGET, rejects from local state the messages that are
// known to be over their limit, and asks Redis about all others in one pipelined round trip. The batch grows with the
// load, without a timer: while a round trip is under way, the next batch gathers.
//
// # Ordering
//
// Messages with one tenant key that enter through one [Sorter] leave in the order in which they entered. A change is in
// force for every message that is put into a mailbox after [Pool.Notify] has returned.
//
// # Backpressure
//
// A full mailbox blocks [Sorter.Flush]. So no further messages are decoded, and they wait in JetStream. The shard waits
// for the function that takes its batches.
//
// # Shutdown
//
// Call [Pool.Close] after all senders have ended. [Pool.Run] then returns when every accepted message has been handed
// on.
//
// # Errors
//
// It is not an error that Redis is away. Tenants are then served from the cache, however old they are. Tenants that are
// not cached are served as free tier, and the limiter decides by its policy.
package shard
