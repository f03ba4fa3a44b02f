// Package pipeline processes messages: it takes them from JetStream, asks the shards whether they are admitted, runs
// their handlers, sends the outcomes and counts.
//
// # The path of a message
//
//	source ──► decode ──► shard i of N ──► handle ──► metrics
//	(pull)     envelope   tenant, limit    handler    count, reply, ack
//
// The four stages run under one errgroup. Each has its own file: stage_decode.go, stage_limit.go, stage_handle.go and
// stage_metrics.go. Beside them runs the writer of lanes, lane_writer.go, which takes messages between limit and handle.
// A message travels as one *delivery, and exactly one stage owns the delivery at a time. Every message ends in the metrics
// stage, but for those that a source gives back after an abort because they are not decoded yet.
//
// # Backpressure
//
// No stage waits for handlers that are slow; for fast ones decode waits a moment, see fairQueue.catchUp. What is in the
// process, from decode to its end, is bounded at the sources, in messages for each of them and in bytes over all; see
// intake. A source that has no room waits, and soon stops pulling, so that further messages wait in JetStream. A sender
// whose message is not admitted is told so at once.
//
// A community that is over its due does not fill what the consumers may have unacknowledged: its admitted messages are
// stored again in a lane, and acknowledged; see package lanes. They come back by the lane's source, of which few are in
// the process at a time.
//
// # Order
//
// In one process the messages of a tenant key begin in the order in which they were stored, one at a time where
// TenantConcurrency is 1. Lanes keep that order. A message that is delivered again, or tried again, falls behind, as does
// one that its lane has refused. Several processes take messages in no order.
//
// # Shutdown
//
// There are two contexts. The context given to [Pipeline.Run] stops the sources when it ends. The stages end front to
// back, each after the stage before it. Work in flight runs under a second context, which ends before ShutdownTimeout
// is over. Then each stage gives its messages back instead of passing them on: they are not acknowledged, and JetStream
// delivers them to another process at once. That includes the message of a handler that ignores its context.
//
// # Errors
//
// A failure of one message concerns that message alone. The message is retried with growing delay, or becomes a dead
// letter, which is stored before the message is terminated. Run returns an error only when the process cannot go on.
package pipeline
