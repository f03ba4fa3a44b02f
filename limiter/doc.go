// Package limiter admits at most Max messages of a key in any window of a given length, for any number of processes
// that share a Redis. It knows nothing of tenants, NATS or HTTP. A key is a string such as "comm_007:command"; a
// message is known by its event ID.
//
// # Algorithm
//
// The algorithm is the sliding window log. Every admission is recorded with its time, and a message is admitted while
// fewer than Max admissions are younger than the window. (Algorithms that count in fixed or weighted buckets admit up
// to twice Max around a boundary, or reject by an estimate.) The log of a key is a Redis sorted set. Its members are
// event IDs; a member's score is the time of the admission in unix milliseconds. One script, allow.lua, trims the set,
// admits as many IDs as fit, and answers for all of them. A window is (t-W, t]: with a window of 60 s, an admission at
// second 0 frees its permit at second 60, not before.
//
// # Large limits
//
// A limit above 10,000 permits counts admissions in sub-windows of a hundredth of the window, so that a key stays small
// and a call short. An admission counts as if it had been made at the end of its sub-window: it errs only toward
// rejecting, and by at most 1 % of the window. Event IDs are remembered as 64 bits of a salted hash, so one message is
// charged once here too; two different IDs of a key with the same 64 bits would count as one. A key remembers its
// newest 1,000,000 IDs or more. A message that comes again after more admissions than that is charged again, which errs
// toward rejecting too. subwindows.lua describes what the sorted set then holds.
//
// When a limit crosses 10,000, in either direction and however often, nothing is converted: what was recorded in the
// other form counts beside the new one until it has left the window. So no permit is lost or gained, also while
// processes do not agree on the limit yet.
//
// No call of a script does more work than a bound allows: it takes at most 250 IDs, or 32 for a large limit, removes at
// most 512 members that have left the window (those that stay behind are not counted), and reads counts instead of
// members. That takes Redis less than a millisecond, for any limit and any backlog
// (go test -run=- -bench='CallTime|Backlog' ./limiter). Redis frees a key that expires at once, and stands still for
// it. So a key with a large limit expires a minute after its window, and before that Limiter.Run unlinks it.
//
// # Boosts
//
// A [Limit] may have a boost: permits on top of Max until a time. The scripts compare that time with the server's TIME,
// so a boost ends for all processes in the same millisecond, without a message to any of them. What it admitted counts
// until it has left the window: after a boost, a key admits nothing until fewer than Max admissions are left. RetryAfter
// and the time of a reserved permit do not count on a boost that will have ended by then. While Redis is away, a process
// estimates the server's TIME from its last answer.
//
// # What is exact and why
//
//   - In any window at most Max messages of a key are admitted, whatever the number of processes, because Redis
//     runs one script at a time. (With a boost: at most as many as the highest limit that was in force for one of
//     them.) The only clock for windows is the server's TIME, in whole milliseconds; the clocks of processes may be
//     wrong.
//   - A message is charged once in its window, however often it is delivered: its ID is the member of the set, and
//     an ID that is a member already is admitted without a charge. (For large limits see above.)
//   - When the server's clock steps back, admissions with a later time count until the clock has passed them by a
//     window: permits become free late, never early. When the clock steps forward, admissions that are then older
//     than the window no longer count.
//   - When Max is lowered below the used permits, no message is admitted until fewer admissions than the new Max
//     are left.
//
// Admissions that Redis loses are no longer counted. Redis loses them by a failover to a replica that lags, by a
// restart without persistence, or by eviction. Where that matters, set maxmemory-policy noeviction and use an
// append-only file.
//
// # Permits for later
//
// Limiter.Reserve reserves a permit for a message that is over the limit and can wait. The permit is recorded at once,
// with the time from which it is free: the first at which the admissions before it leave room in the window. When that
// time has come, the message asks for its permit by Limiter.AllowBatch, under its [ReservedID], and is admitted without
// a charge; before, it is rejected. A reserved permit counts like any other, so messages that come later find it taken:
// they neither overtake those that wait, nor can a flood starve these. The permit counts for 1.5 s longer than a window,
// because its message may come so late. One that comes later still is admitted all the same, but counts from that time.
// After a whole window more, or a reset, the reservation is forgotten, and its message is one like any other.
//
// When Max is raised, reservations made before keep their times, and leave room for others where no window has too
// many. When it is lowered, they keep their times too.
//
// # Local rejects
//
// A [Window] remembers until when its key is full, as Redis has said. Until then Limiter.AllowBatch rejects new
// messages of the key without asking Redis. So the work of Redis is proportional to admissions, and not to a flood
// above the limit. The time is counted from before the request was sent and shortened by 1 ms, so a Window never
// rejects longer than Redis would. Redis is asked nevertheless for a [Request] with Repeated, which may hold its
// permit, and when the limit has changed. Redis is never asked for unlimited keys, and for a Max of 0 without a boost. A
// key that is full with a boost stays full when the boost ends.
//
// # Ordering
//
// The requests of one key are decided in the order of the batch. One script call decides up to 250 requests of one key
// and limit (32 of a large limit); requests of other processes may be decided between two calls. A batch is one
// pipelined round trip. A further one comes before it if admissions must be merged, and after it if the server lost the
// script or did not answer. Batches of several goroutines are decided in the order in which they reach Redis. A
// [Limiter] is safe for concurrent use. A Window has no lock and belongs to one goroutine, which keeps a Window for
// each of its keys.
//
// # Degraded operation
//
// Package redishealth says whether Redis is away: on a Cluster, whether the node that owns a key is. A message is asked
// for [redishealth.Attempts] times until Redis answers, so a round trip that fails once costs nothing. After that, and
// while the node is away, the [Policy] decides, and the verdict is Degraded. While the node is away, no message asks
// it, so no message waits for a time-out. Keys on other nodes are not affected.
//
// Under Local the process enforces the same windows from its memory of its own admissions, which it also records before
// an outage. It does not know the admissions of other processes, so n processes may admit n times Max. Limiter.Run
// probes the node. As soon as the node takes writes again, limits are exact: the admissions of the outage that are
// still in their window are merged into Redis, each with its age, before the next question for their key, and by Run
// for keys that get no further message. An admission is merged by its ID and therefore counts once, however often the
// merge is sent, and even if the round trip that seemed to fail had reached Redis. After the merge a key may hold more
// than Max admissions; it then admits nothing until fewer than Max are left.
//
// Options.MaxQueued and Options.MaxKeys bound what waits for the merge. What they drop is counted
// (arrakis_limiter_merge_dropped_total), and Redis never learns of it: the limits of those keys then err toward
// admitting, until the dropped admissions have left their window.
//
// A single key may be unusable, for example because it is of another type. The policy decides on its messages too, and
// other keys are not affected. An unusable key is logged once a minute.
//
// # Errors
//
// A rejection is a [Verdict] and not an error, also during an outage. Limiter.AllowBatch and Limiter.Allow return an
// error only when ctx ends and for invalid requests. When ctx ends during the round trip, permits may have been taken.
// A message that is delivered again with Repeated finds its permit. Limiter.Reset, Limiter.Release and, under Closed,
// Limiter.Usage return [redishealth.ErrAway] while Redis is away.
//
// Set the client's ContextTimeoutEnabled; otherwise the client's own time-outs apply instead of the one in
// [redishealth.Options]. Redis 6.2 or newer is needed. A cluster works, because every script has one key. A
// failover client works too.
//
// # Memory
//
// Redis holds at most Max members for a key, one for each permit that is reserved for later, and after an outage also
// those that other processes admitted. A key
// expires when its newest member leaves the window. With UUIDs as IDs, a permit takes 52 to 57 bytes in a set of up to
// 128 members, and about 140 bytes in a larger one (Redis 7.0, MEMORY USAGE; go test -run=- -bench=Memory ./limiter). A
// large limit takes 15 or 16 bytes a permit, and at most 27 MB, however large it is.
//
// A Window takes 104 bytes and the bytes of its key. The memory for outages keeps the Options.MaxKeys keys that were
// used last. It takes 16 bytes for each of a key's newest 10,000 permits. Older permits are counted in sub-windows of a
// hundredth of the window. These counts err only toward rejecting, and by at most 1 % of the window. This memory
// recognises an ID by a 64-bit hash whose seed is the process's own.
package limiter
