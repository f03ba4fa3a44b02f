// Package watch implements hot reload. A [Watcher] tells its process about every change that a [store.Store] announces:
// at once by pub/sub, or within the poll interval if pub/sub has lost the event.
//
// # Ordering
//
// Events are delivered one at a time, in the order of the channel. An event may be delivered twice, once by pub/sub and
// once by the poll. That does no harm, because an event only causes documents to be read again.
//
// # Backpressure
//
// The next event is read after OnEvent has returned. If OnEvent is so slow that Redis cuts the connection, the Watcher
// subscribes again and polls the change log, so that no change is lost.
//
// # Shutdown
//
// New starts nothing. When its context ends, [Watcher.Run] stops everything that it started, and then returns.
//
// # Errors
//
// Run always returns nil. While Redis is away, it tries again. Failed polls and malformed events are counted and
// logged.
package watch
