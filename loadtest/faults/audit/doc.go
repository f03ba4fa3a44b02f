// Package audit decides, after a run with faults, whether a message was lost and whether a limit was exceeded. It knows
// nothing of servers: the run tells a [Ledger] what it has seen, and [ReadLog] reads what Redis has written.
//
// # Evidence
//
// Every fact is noted by a process that no fault kills, before it can have an effect:
//
//   - a publish, when JetStream or the ingress has acknowledged it;
//   - a handler's run, by the handler before it answers, with how long the append-only file of Redis is by then;
//   - an answer, on the worker's side of its connection to NATS. A worker sends the answer before it acknowledges the
//     message, so whatever was acknowledged has its answer noted, even if the connection or the server died with it;
//   - a dead letter and a message that is still stored, read from JetStream at the end;
//   - an admission, from the append-only file of Redis, in which nothing is missing under appendfsync always.
package audit
