// Package redishealth says whether Redis is away, for all code in a process that uses the same Redis. Only this package
// decides that.
//
// # What counts
//
// Only faults of the connection count: no connection, a reset, a time-out, a pool without a free connection, or a
// server that says it cannot serve now ([ServerFailed]). The fault of a key, of a document or of the caller does not
// count.
//
// # By node
//
// On a Cluster each node counts for itself: the keys of one master can be away while all others are used. A key belongs
// to the master that owns its slot now, so when a replica takes over, the keys come back by themselves. A single
// server, or the one that Sentinels have elected, is one node that owns all keys. So are all nodes of a Cluster of
// which the client has not seen any.
//
// A node counts as away after Options.Failures failed round trips in a row. From then on only probes ([Health.Recover])
// ask it, so that nothing waits for a time-out. It counts as back when a probe finds that it takes writes.
package redishealth
