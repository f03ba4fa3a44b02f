// Package record keeps tenants, flags, tiers and the audit log in PostgreSQL, as the system of record in place of Redis,
// and gives Redis copies of the documents. Workers read Redis alone: while PostgreSQL is away, nothing can be changed, and
// what is in force stays.
//
// # What is written where
//
//	arrakis.documents  the documents, each with a version that rises with each change
//	arrakis.outbox     documents that Redis does not have yet
//	arrakis.audit      an entry for each change, for as long as [Options].AuditRetention says
//	arrakis.record     which database this is, and whether documents are changed in it
//	arrakis.migrations the migrations that were applied, see [DB.Migrate]
//
// # Consistency
//
// A write is one statement, and so one transaction: the document, if it still has the version that was read, its entry in
// the audit log, and a row in the outbox. A write that finds another version starts again from the new document. So no
// concurrent write is lost, and nothing is locked while a writer thinks or the network is slow.
//
// # The relay
//
// [DB.Run] of any process carries documents from the outbox to Redis: in one transaction under an advisory lock it reads rows of
// the outbox with the documents as they are now, gives them to Redis, where each is stored if it is newer, announces them,
// and deletes the rows. If it dies in between, the rows are still there, and the next relay does the same again, which does
// no harm. A writer waits a moment for its document to be carried over; what a writer that
// died has left is found within half a second.
//
// There is no position that a relay could move past a transaction that commits late: what is in the outbox is not in
// Redis, and nothing else. The row of a document is written under the lock of the document, so that Redis gets the states of
// one document in the order of their commits. Documents do not depend on each other.
//
// NOTIFY is not used, because it takes a lock that all commits of a database wait for, and nothing is held in a session, so
// that the connections may go through PgBouncer, in its transaction mode too, with default_query_exec_mode=exec in the URL
// where it does not know prepared statements. Migrations need a connection of their own.
//
// # When Redis is lost
//
// The key arrakis:record in Redis names the database. A Redis without it is filled from PostgreSQL by Run of one of the
// processes. When a server of Redis is another than before, and each hour, Run compares all documents, restores those that
// are missing or older, and reports other drift, see [DB.Compare].
//
// # Errors
//
// Callers can branch on [store.ErrAway], [store.ErrUncertain] and [store.ErrElsewhere].
package record
