// Package rest sends answers to interactions by Discord's REST API. One [discord.Answer] is one message, and mostly one
// call. Its follow-ups are for the caller, who sends each when the one before was sent.
//
// # What it promises
//
//   - No call carries a bot's token: an interaction's token is all that Discord asks for. No error, log line or metric
//     has it.
//   - An answer is sent at least once, and once as far as Discord allows. A second edit is the same message, and a second
//     callback is refused by Discord; a follow-up whose answer got lost comes twice.
//   - An answer that is older than its token is not sent. How old it is goes by the clock of this process, which must be
//     right to a second, as it must be to verify signatures.
//
// # Waiting
//
// A Client never waits for a limit: it returns a [*LaterError], and the caller tries again then. Calls are held back
//
//   - for one interaction, above 5 in 2 s; and for one channel, above 30 in a minute. The second limit is Discord's too,
//     but Discord does not document it.
//   - as long as an answer 429 says: for the interaction, its channel, or all calls, as the answer's scope says.
//   - all of them, after 5,000 invalid ones in 10 minutes: those that Discord answered 401, 403, or 429 for a limit that is
//     not shared. Discord bans an address for 10,000.
//
// Processes share all of this in Redis, but what a 429 says of one interaction, which one process at a time answers. While
// Redis is away, each goes by what it knows.
//
// An answer that refuses something ([discord.Answer.Refusal]) is dropped where it would have to wait: a flood of refusals
// must not use up the channel, of which refusals and progress have half. A callback does not wait for permits, because it
// is worthless after 3 s.
//
// # Errors
//
// [Client.Send] says what its errors mean. Everything in the package is safe for concurrent use, and it starts no
// goroutine.
package rest
