// Package fleet lets all workers be seen from each of them, and from the command line.
//
// Every worker runs [Publish]: every [Interval] it tells of itself, in a heartbeat on internal.worker.<id>. The stream
// INTERNAL keeps the last heartbeat of each worker, in memory and for a minute. A [Watcher] reads what the stream keeps,
// then hears each heartbeat as it is published, and asks JetStream and Redis for streams, lanes and dead letters. Its
// [State] is made into a document by package view.
//
// # Promises
//
// Nothing depends on heartbeats: without INTERNAL, or with a worker that cannot publish, messages are handled as always
// and workers are ready. A nats-server that restarts loses INTERNAL; a worker makes it again. Until then a Watcher that
// runs misses nothing, because it hears the heartbeats themselves.
//
// A worker that ends says so ([Stopped]). One that is killed, or cut off, counts as [Lost] when nothing has been heard
// of it for [LostAfter]. Both are forgotten when their last heartbeat is a minute old. Nobody compares the clocks of
// two machines: the age of a heartbeat that INTERNAL kept is by the clock of nats-server alone, and that of any other by
// the reader's alone.
//
// Everything is bounded: [MaxWorkers] workers, [MaxTop] communities for each reason in a heartbeat, and the bytes of a
// heartbeat. Whatever is published on internal.worker.> is read as hostile.
package fleet
