// Package discord takes what Discord sends over HTTP: interactions, and webhook events of entitlements.
//
//	POST /discord/interactions   a command, a component, a modal, an autocomplete, or a PING
//	POST /discord/events         an entitlement that begins, changes or ends, or a PING
//
// # Signatures
//
// Every body must be signed with one of the application's keys, and its timestamp must be within [MaxAge] of this
// machine's clock, before or after; else it is answered 401. Discord tries that from time to time, and takes the URL away
// from whoever does not refuse. No token of the ingress is asked for.
//
// # Interactions
//
// Discord waits 3 s for an answer, so this package takes no longer than that from the end of the request's headers:
//
//	command, component, modal   stored as a message of COMMANDS; a worker's answer that comes within 2 s is the response
//	                            itself, else the response is that the answer follows, and the worker sends it then
//	autocomplete                a request to handlers.autocomplete.<command>; what has come after 2.5 s
//
// The interaction's ID is the message's ID: a repetition within the stream's duplicate window runs nothing, and is answered
// that the answer follows. So a load balancer may send an interaction to another process, if the one that had it died: the
// worker that handles it cannot reach the first request, and edits what the second one has deferred. What is refused
// before it is stored is answered 200, with a message in the user's language that only the user sees.
//
// # Autocomplete
//
// The handler gets the interaction's envelope, with data.focused for the option that the user types, and the headers of
// every handler, but for the tier and the features: the tenant is not looked up. It answers an array of strings and
// numbers, or of objects with name and value; see the rule for choices in choicesOf. Whoever types gets no choices if the
// handler is not there, fails or is late, or if more than [MaxCompletions] requests are in flight, or more than 20 a
// second come from one community. Nothing of it is stored, limited by the tenant's limits, or tried again.
//
// # Events
//
// An event is answered 204 when it has been taken, and 503 if that failed, so that Discord sends it again. Events of other
// kinds are answered 204 and have no effect.
//
// # Concurrency
//
// A [Handler] is safe for concurrent use. It starts no goroutine.
package discord
