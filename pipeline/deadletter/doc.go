// Package deadletter writes, lists, replays and purges dead letters, the messages that the pipeline gave up on. Dead
// letters are kept in the JetStream stream DEADLETTER.
//
// # Ordering
//
// A dead letter is written before its message is terminated. A replayed message is stored in its own stream before its
// dead letter is deleted. So the message is in one of the two streams at all times (I3).
//
// Dead letters and replays have message IDs made of stream, sequence and time. So a message that is stored twice,
// because somebody clicked twice or an answer was lost, is kept once within the stream's duplicate window, which is
// 2 minutes by JetStream's default.
//
// A process that dies in the middle of a replay leaves the dead letter behind. A later replay then stores the message
// again. The limiter and handlers recognise the message by its event ID.
//
// # Errors
//
// Callers can branch on [ErrNotFound], [*QueryError] and [*RefusedError]. Any other error comes from JetStream or ctx,
// and the call may be repeated.
package deadletter
