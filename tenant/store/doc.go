// Package store keeps configs, accounts, tiers and feature flags in Redis, announces their changes, and records who made them. Its
// [Directory] searches the configs by their IDs.
//
// # What is written where
//
//	tenant:config:<id>       string      a [tenant.Config] as JSON, under the ID that messages carry
//	account:config:<id>      string      a [tenant.Account] as JSON
//	arrakis:tiers            string      a [tenant.Tiers] as JSON: global overrides of tier defaults, what SKUs give
//	arrakis:flags            hash        flag ID to [tenant.Flag] as JSON
//	arrakis:audit            stream      an [AuditEntry] for each change
//	arrakis:config:changes   sorted set  <type>:<target>, scored by the unix ms of its last change
//	arrakis:config:reload    pub/sub     a [tenant.Event] as JSON
//	arrakis:record           string      whose copies these are, see [RecordKey]; absent: nobody's
//	arrakis:deleted:{<key>}  string      the number of a deleted document, for a day; only of copies
//
// Reading never writes. Other writers may use these keys too; members that arrakis does not know survive the writes of
// arrakis. A document that arrakis cannot use affects only what it is about, a tenant, an account, a flag or the tiers,
// which has the last usable document that this store has seen, or its default if there was none. [Store.Unusable] names its key.
//
// # System of record
//
// With [Options].SystemOfRecord, documents and the audit log are kept there, and Redis has copies, which the [Mirror] writes. Get,
// GetTiers, GetFlag, GetAccount, Audit and all writes ask the system of record, the first four what Redis has while it is away;
// everything else reads Redis. A copy begins with the member version, the number of its state, which is its [Version]; readers
// never see that member. Without a system of record, a write fails with [ErrElsewhere] where arrakis:record says that there is
// one.
//
// # Consistency
//
// In Redis alone, a write is one transaction (WATCH, MULTI, EXEC). The document, its entries in the audit log and in the change log, and
// its event on the channel appear together or not at all. The transaction fails if the document has changed since it was read. Then the
// writer starts again from the new document, so no concurrent write is lost. All times are those of the Redis server.
//
// On Redis Cluster the document and the change log may be on different nodes, and no transaction spans nodes. There the
// document is written first, and then the entries and the event. If the process dies in between, the change is in force
// when caches expire, and not within a second, and the audit log does not have it. If the second step fails, the error
// says so. Then repeat the write, or run a reload, to announce the change.
//
// # Ordering
//
// An event is published after its document is written. So a process that receives the event and reads the document
// reads that change or a newer one. The score of an entry in the change log grows with every change of its target, so
// entries with the same score are the same change. Entries are kept for [ChangesKept].
//
// # Shutdown
//
// New starts nothing. A [Store] need not be closed. A [Directory] works while its Run does. The Redis client belongs to
// the caller.
//
// # Errors
//
// Callers can branch on [ErrNotFound], [ErrConflict], [ErrCursor], [ErrAway], [ErrUncertain] and [ErrElsewhere]. A [*tenant.FieldError] is a fault of a document
// that the caller gave. A [*StoredError] names a key in Redis that needs repair. Any other error comes from Redis or
// from the context. While Redis is away, Load fails, and the caller continues with the tenants that it has.
package store
