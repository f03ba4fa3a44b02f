// Package limiter admits at most Max messages of a key in any window of a given length, for any number of processes that
// share a Redis. It knows nothing of tenants, NATS or HTTP: a key is a string such as "comm_007:command", a message is
// its event ID.
//
// # Algorithm
//
// The algorithm is the sliding window log: every admission is written down with its time, and a message is admitted while
// fewer than Max are younger than the window. (The usual forms that count in fixed or weighted buckets admit up to twice
// Max around a boundary, or reject by a guess.) The log of a key is a Redis sorted set: its members are event IDs, their
// scores the time of admission in unix milliseconds. One script, allow.lua, trims the set, admits as many IDs as fit, and
// answers for all of them. A window is (t-W, t]: an admission at second 0 frees its permit at second 60 of a window
// of 60 s, not before.
//
// # What is exact and why
//
//   - In any window at most Max messages of a key are admitted, whatever the number of processes: Redis runs one script at
//     a time. Only the server's TIME is a clock for windows, in whole milliseconds; the clocks of processes may be wrong.
//   - A message is charged once in its window, however often it is delivered: its ID is the member, and one that is there
//     already is admitted without a charge.
//   - When the server's clock steps back, admissions ahead of it count until it has passed them by a window: permits come
//     late, never early. When it steps forward, what it passes has left the window.
//   - When Max is lowered below what is used, messages are admitted again once fewer than the new Max are left.
//
// What Redis loses (a failover to a replica that lags, a restart without persistence, an eviction) is lost to the count
// as well: set maxmemory-policy noeviction and an append-only file where that matters.
//
// # Local rejects
//
// A [Window] remembers that Redis has said "full until". Until then Limiter.AllowBatch rejects new messages of that
// key without asking. So Redis works in proportion to what is admitted, not to a flood above the limit. The time is
// counted from before the request was sent and shortened by 1 ms, so a Window never rejects longer than Redis would. It
// asks Redis regardless for a [Request] with Replay, which may hold its permit, and for another limit than it knows.
// Unlimited keys and a Max of 0 never ask.
//
// # Ordering
//
// The requests of one key are decided in the order of the batch, and all requests of one key and limit by one script call.
// A batch is one pipelined round trip (two when the server lost the script). Batches of several goroutines are decided
// in the order in which they reach Redis. A [Limiter] is safe for concurrent use; a Window belongs to one goroutine, so
// an owner keeps one for each of its keys, without a lock.
//
// # Degraded operation
//
// Package redishealth says when Redis is away: from then on no message asks it, so none waits for a time-out. Messages are
// decided by the [Policy] and their verdicts are Degraded. The messages of a failed round trip are decided by it at once,
// even before Redis counts as away.
//
// Under Local the process enforces the same windows by itself, from a memory of what it has admitted, also before the
// outage. It does not know of other processes: n of them may admit n times Max. Limiter.Run probes Redis; when Redis takes
// writes again, the admissions made meanwhile that are still in their window are added to it, each dated by its age. Only
// when none is left do messages ask Redis again, so no admission is lost between the two. After the merge a key may hold
// more than Max; it then admits nothing until fewer than Max are left.
//
// A single key that cannot be used, for example because it is of another type, is decided by the policy as well and
// logged, and does not make the others degraded. The first such log of a key in a minute is written.
//
// # Errors
//
// A rejection is a [Verdict], and so is an outage. Limiter.AllowBatch and Limiter.Allow return an error only for
// the end of ctx and for invalid requests. When ctx ends during the round trip, permits may have been taken: deliver the
// message again with Replay, and it finds its own. Limiter.Reset, Limiter.Release and, under Closed, Limiter.Usage
// return [redishealth.ErrAway] while Redis is away.
//
// The client should have ContextTimeoutEnabled, else its own time-outs apply instead of that of [redishealth.Options]. Redis 6.2 or
// newer is needed. Every script has one key, so a cluster works; so does a failover client.
//
// # Memory
//
// Redis holds at most Max members a key (after an outage as many more as other processes admitted), and a key expires when
// its newest member leaves the window. With UUIDs for IDs a permit takes 52 to 57 bytes for up to 128 members and about
// 140 bytes beyond (Redis 7.0, MEMORY USAGE; go test -run=- -bench=Memory ./limiter).
//
// A Window takes 104 bytes beside its key. The memory for outages keeps Options.MaxKeys keys, least recently used first
// out: 16 bytes for each of a key's newest 10,000 permits, and for older ones counts in sub-windows of a hundredth of the
// window. Those err only toward rejecting, and by at most 1 % of the window. An ID is recognised there by a 64-bit hash
// with a seed of the process.
package limiter
