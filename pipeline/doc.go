// Package pipeline is the worker: it takes messages from JetStream, asks the
// shards what they may do, runs their handlers, answers and counts.
//
// # The path of a message
//
//	source ──► decode ──► shard i of N ──► handle ──► metrics
//	(pull)     envelope   tenant, limit    handler    count, reply, ack
//
// The four stages run under one errgroup, in files of their own:
// stage_decode.go, stage_limit.go, stage_handle.go and stage_metrics.go. A
// message travels as one *delivery that exactly one stage owns at a time; it
// ends in the metrics stage and nowhere else, whatever became of it.
//
// # Backpressure
//
// Every queue between stages is bounded. A full one blocks the stage before
// it and in the end the pulling, so that what is not taken waits in JetStream.
// The handle stage's queue has room for everything that the consumers may
// have outstanding, so that slow handlers do not block a shard.
//
// # Shutdown
//
// Two contexts: the one that [Pipeline.Run] is given stops the intake when it
// ends; work in flight goes on under a second one, which ends ShutdownTimeout
// later. Stages close front to back, each after the one before it has ended.
// What is not finished by then is given back to JetStream.
//
// # Errors
//
// What goes wrong with one message ends in its outcome: a retry with growing
// delay, or a dead letter, which is stored before the message is terminated.
// Run returns an error only when the process cannot go on.
package pipeline
