// Package deadletter lists the messages that the pipeline gave up on, puts them
// back where they came from, and deletes them for good.
//
// # Ordering
//
// A replay is stored in the message's own stream before its dead letter is
// deleted, so that the message is in one of the two at all times (I3). Its
// message ID follows from the dead letter's place: a replay that is repeated,
// by a second click or because its answer was lost, is stored once within the
// stream's duplicate window, which is 2 minutes by JetStream's default. A
// process that dies between the two leaves the dead letter behind; replaying
// that later stores the message again, and its event ID says so to the limiter
// and to handlers.
//
// # Errors
//
// [ErrNotFound], [*QueryError] and [*RefusedError] are for callers to branch
// on. Any other error is that of JetStream or of ctx, and the same call may be
// made again.
package deadletter
