// Package deadletter is the one room for dead letters, the messages that the
// pipeline gave up on: it writes them, lists them, puts them back where they
// came from, and deletes them for good. They are kept in the JetStream stream
// DEADLETTER.
//
// # Ordering
//
// A dead letter is written before its message is terminated, and a replay is
// stored in the message's own stream before its dead letter is deleted, so that
// the message is in one of the two streams at all times (I3). Both carry message
// IDs made of stream, sequence and time, so that what is stored a second time,
// by a second click or because an answer was lost, is stored once within the
// stream's duplicate window, which is 2 minutes by JetStream's default. A process
// that dies in the middle of a replay leaves the dead letter behind; replaying
// that later stores the message again, and its event ID says so to the limiter
// and to handlers.
//
// # Errors
//
// [ErrNotFound], [*QueryError] and [*RefusedError] are for callers to branch
// on. Any other error is that of JetStream or of ctx, and the same call may be
// made again.
package deadletter
