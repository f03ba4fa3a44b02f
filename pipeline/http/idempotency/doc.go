// Package idempotency remembers what HTTP clients have asked for under event IDs of their own, so that a repeated
// request gets the answer of the first and runs nothing.
//
// A request is known by its [Key]: community, route and the client's event ID. Its message is known by a fingerprint,
// which is a digest of the bytes that are stored in JetStream. So two requests are the same if these bytes are the
// same; white space and the order of members count.
//
//	Begin        nothing known               the request may run, and holds a Mark
//	             same message, answered      its answer
//	             same message, runs          Running
//	             another message             Mismatch
//	Mark.Keep    the answer is kept for Options.Keep
//	Mark.Fail    the same message may run again, for Options.Keep; another is a Mismatch
//	Mark.Forget  nothing is kept: any message may run
//	Mark.Drop    the request runs on, but nobody here waits for its end
//
// # Redis
//
// A key is one string, arrakis:idempotency:<community>:<route>:<hash of the event ID>, which holds the fingerprint and
// either the mark of the request that runs or its answer. Scripts change it, each touches one key. A sorted set,
// arrakis:idempotency-keys:<community>, lists the answers of a community by age.
//
// All calls of a process share one round trip at a time: what gathers while Redis answers makes the next one. No timer
// is involved. A call returns when Redis has answered. So once a client has its answer, every process knows it.
//
// # Bounds
//
// An answer above Options.MaxAnswer is not kept, only that there was one. A community has at most
// Options.MaxPerCommunity answers, where each begun KiB counts as one; a further answer takes the place of the oldest.
// Event IDs that wait for an answer are bounded by the requests in flight. The memory of a process holds
// Options.MemoryBytes of answers.
//
// # Errors
//
// What is lost makes a request run again, and never keeps one from running for longer than Options.Lease:
//
//   - The process dies: its marks expire after Options.Lease, which the process renewed while it lived. A repeated
//     request is answered Running until then, and runs afterwards.
//   - Redis is away: Begin and Keep use the memory of the process, which knows the newest answers that the process gave
//     and all that runs in it. So a request runs at most once in each process; with Options.Closed it is refused.
//     When Redis is back, an answer that it does not know is stored with the next request under its event ID.
//   - Redis loses its data, or evicts keys: as if it were away, for these keys.
//
// A request that runs again has the same event ID, so its handler can tell. It is charged again, unless it is known to
// have failed: Begun.Again.
package idempotency
