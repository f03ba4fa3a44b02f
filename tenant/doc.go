// Package tenant knows who a community is and what it may do: tiers, configs,
// feature flags, where Redis keeps them, and how every process hears of a
// change. It knows nothing of NATS, HTTP or of counting admissions.
//
// # What is written where
//
//	tenant:config:<id>       string      a [Config] as JSON, under the ID that messages carry
//	arrakis:tiers            string      a [TiersConfig] as JSON: global overrides of tier defaults
//	arrakis:flags            hash        flag ID to [Flag] as JSON
//	arrakis:config:changes   sorted set  <type>:<target>, scored by the unix ms of its last change
//	arrakis:config:reload    pub/sub     an [Event] as JSON
//
// Reading never writes. What Redis holds may come from other writers: members
// that arrakis does not know survive its writes, and a document that it cannot
// use affects nobody but its own tenant or flag, which keeps what this store
// has last seen of it or else its default. What a user gives is read strictly
// instead; every fault is named.
//
// # Consistency
//
// A write is one transaction (WATCH, MULTI, EXEC): the document, its entry in
// the change log and its event on the channel come to be together or not at
// all. The document is compared with what the write was based on, so that of
// two writers at once none is lost: the later one starts again from the new
// document. All times are those of the Redis server.
//
// On Redis Cluster the document and the change log live on different nodes,
// which no transaction spans. There the document is written first, then the
// log and the event (these two together). A process that dies in between
// leaves a change that is in force when caches expire rather than within a
// second; a write that fails in between says so, and repeating it, or a
// reload, announces it.
//
// # Ordering
//
// An event is published after its document is in place: whoever reads on
// hearing of it reads that change or a newer one. The score of a change log
// entry grows with every change of its target, so an entry with the same score
// is the same change. Entries are kept for 24 hours.
//
// A [Watcher] delivers events one at a time, in the order of the channel. An
// event may come twice, by both ways; it is never a reason for more than
// reading again.
//
// # Backpressure
//
// A Watcher reads the next event when OnEvent has returned. If OnEvent is so
// slow that Redis cuts the connection, the Watcher subscribes again and polls
// the log, so that nothing is lost.
//
// # Shutdown
//
// Constructors start nothing. [Watcher.Run] ends when its context does, after
// everything that it started has ended. A [Store] needs no closing; the Redis
// client belongs to the caller.
//
// # Errors
//
// [ErrNotFound], [ErrConflict] and [ErrCursor] are what callers branch on;
// [*FieldError] says what is wrong with a given document and [*StoredError]
// names a key in Redis that needs repair. Any other error comes from Redis or
// from the context: while Redis is away, Load fails, and the caller goes on
// with what it has.
package tenant
