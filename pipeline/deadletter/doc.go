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
// # Replays
//
// A replay is stored once, however late it is repeated, also if the process died between storing the message and
// deleting the dead letter. Three things make it so:
//
//   - The first replay of a dead letter stores a mark in DEADLETTER, on the subject
//     deadletter.replay.<sequence>.<time>: up to where the message's stream went then. A replay that finds a mark looks
//     for the message behind that point.
//   - A worker deletes the dead letter of a replayed message, if it is still there, before it settles the message, also
//     if the message goes on elsewhere, in a lane or in RETRY. So a dead letter whose message is not in the stream has not
//     been replayed.
//   - Replays at the same moment have one message ID. A replay publishes within 5 s after it has seen the dead letter.
//
// The limits: a publish that the network or a frozen server holds back for longer than the duplicate window, while
// another replay of the dead letter is handled; a worker that could not delete the dead letter (it logs that); a worker
// older than this; and a replayed message that its stream dropped unread, by age or size, is stored again.
//
// # Many
//
// Lists and bulk runs read the stream with a consumer that lives as long as the call, and ask the stream's leader for what
// it may have missed. JetStream has an index of streams and reasons, but not of communities: these are found by a look at
// each dead letter. So a call looks for a bounded time, and says where the next one goes on. Nothing is kept between calls.
//
// # Errors
//
// Callers can branch on [ErrNotFound], [ErrUncertain], [*QueryError] and [*RefusedError]. Any other error comes from JetStream or ctx,
// and the call may be repeated.
package deadletter
