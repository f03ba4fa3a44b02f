// Package shard admits messages: it finds the tenant of each, and decides
// whether the tenant's limits allow it. A [Pool] has a fixed number of shards;
// the hash of a message's tenant key picks one. [Limits] reads and resets what
// is used of the limits.
//
// A shard is an actor: one goroutine that alone owns an LRU of tenants, each
// with the local windows of its limits, so there is no lock on the way of a
// message. All it hears comes through its [Mailbox]: messages, and changes of
// tenants and limits. It takes whatever has gathered in the mailbox as one
// batch, reads the missing tenants with one MGET, rejects from local state
// what is known to be over its limit, and has the rest confirmed by one
// pipelined round trip to Redis. The batch grows with the load, without a
// timer: while a round trip is under way, the next batch gathers.
//
// # Ordering
//
// Messages of one community that enter through one [Sorter] leave in the
// order in which they entered. A change that was notified before a message
// was put is in force for it.
//
// # Backpressure
//
// A full mailbox blocks [Sorter.Flush], and with it the decoding of all
// further messages, up to JetStream. The shard in turn waits for the function
// that its batches go to.
//
// # Shutdown
//
// [Pool.Close] is called when all senders have ended. [Pool.Run] returns when
// every batch that was accepted has been handed on.
//
// # Errors
//
// Redis being away is no error: tenants are served from the cache however
// old, unknown ones as free tier, and the limiter decides by its policy.
package shard
