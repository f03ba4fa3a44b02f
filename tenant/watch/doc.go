// Package watch is hot reload: a [Watcher] tells a process of every change that
// a [store.Store] announces, within a moment by pub/sub, and within the poll
// interval where pub/sub has lost the event.
//
// # Ordering
//
// Events are delivered one at a time, in the order of the channel. An event may
// come twice, once by each way: it is only ever a reason to read again.
//
// # Backpressure
//
// The next event is read when OnEvent has returned. If OnEvent is so slow that
// Redis cuts the connection, the Watcher subscribes again and polls the change
// log, so that nothing is lost.
//
// # Shutdown
//
// New starts nothing. [Watcher.Run] ends when its context does, after
// everything that it started has ended.
//
// # Errors
//
// Run has none: while Redis is away it tries again. A failed poll and a
// malformed event are counted and logged.
package watch
