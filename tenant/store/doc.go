// Package store keeps configs, tiers and feature flags in Redis, and announces
// their changes.
//
// # What is written where
//
//	tenant:config:<id>       string      a [tenant.Config] as JSON, under the ID that messages carry
//	arrakis:tiers            string      a [tenant.Tiers] as JSON: global overrides of tier defaults
//	arrakis:flags            hash        flag ID to [tenant.Flag] as JSON
//	arrakis:config:changes   sorted set  <type>:<target>, scored by the unix ms of its last change
//	arrakis:config:reload    pub/sub     a [tenant.Event] as JSON
//
// Reading never writes. Other writers may use these keys too: members that
// arrakis does not know survive its writes. A document that arrakis cannot use
// affects only its own tenant or flag, which is served from the last usable
// document that this store has seen, or else by its default.
//
// # Consistency
//
// A write is one transaction (WATCH, MULTI, EXEC): the document, its entry in
// the change log and its event on the channel appear together or not at all.
// The transaction compares the document with the one that the write was based
// on, so that of two writers at once none is lost: the later one starts again
// from the new document. All times are those of the Redis server.
//
// On Redis Cluster the document and the change log live on different nodes,
// which no transaction spans. There the document is written first, then the
// log and the event (these two together). A process that dies in between
// leaves a change that is in force when caches expire rather than within a
// second. A write that fails in between says so; repeating the write, or a
// reload, announces the change.
//
// # Ordering
//
// An event is published after its document is in place: a process that reads
// the document when it receives the event reads that change or a newer one.
// The score of a change log entry grows with every change of its target, so an
// entry with the same score is the same change. Entries are kept for
// [ChangesKept].
//
// # Shutdown
//
// New starts nothing. A [Store] needs no closing; the Redis client belongs to
// the caller.
//
// # Errors
//
// [ErrNotFound], [ErrConflict] and [ErrCursor] are what callers branch on;
// [*tenant.FieldError] says what is wrong with a given document and
// [*StoredError] names a key in Redis that needs repair. Any other error comes
// from Redis or from the context: while Redis is away, Load fails, and the
// caller goes on with the tenants that it has.
package store
