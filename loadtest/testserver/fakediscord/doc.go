// Package fakediscord is a Discord for programs that run without one: tests, the load test, and the dev command with its
// chat. It plays both of Discord's parts. It sends signed interactions and webhook events to an endpoint, and it serves
// the part of the API with which they are answered, at /api/v10, and the application's commands and entitlements.
//
// # What it promises
//
// It holds an application to Discord's rules: three seconds for the first answer, 15 minutes for a token, one first
// answer, the types that an interaction may be answered with, the form of messages. What breaks a rule gets the error
// that Discord gives, with its code. It shares no code with the packages that it tries. Rules that Discord has but does
// not document are marked in the comments.
//
// It does not know guilds, channels and users: an interaction names whom it likes. It has no gateway; [Server.Issue]
// makes an interaction that a gateway would bring.
//
// # Memory
//
// An open interaction is remembered until it has its answer or its token expires, up to 1,000,000 of them; of those with
// an answer the newest 100,000. What was said is kept of the newest [Options.Histories] only.
//
// # Concurrency
//
// Everything is safe for concurrent use. The package starts no goroutine, except that [Server.Start] listens.
package fakediscord
