// Package ingress takes commands, eligibility checks, syncs and events over
// HTTP, stores each once in JetStream and, unless the client prefers otherwise,
// waits for the outcome that a worker publishes. It knows nothing of tenants'
// limits or handlers: any worker on the same NATS may handle the message.
//
// An outcome is what a worker publishes about a message; an answer is what the
// HTTP client gets.
//
//	POST /v1/commands             commands.interaction.<community>
//	POST /v1/eligibility/checks   eligibility.check.<check_type>.<community>
//	POST /v1/eligibility/syncs    eligibility.sync.<check_type>.<community>   always 202
//	POST /v1/events               events.<event_type>.<community>             always 202
//
// # Requests
//
// The body is the envelope, at most MaxBody bytes, sent on byte for byte. Only
// a missing event_id or event_type is added, as the first member: the event ID
// from the header Idempotency-Key (bare, or a quoted string as in RFC 9651),
// else a new UUID; the event type of the route. An event_id in the body wins
// over the header. A request that is repeated with the same event ID is charged
// once, but its handler may run again.
//
// X-Request-Id (up to 128 visible ASCII characters) and traceparent (W3C) go
// with the message; an invalid one is ignored. The response always carries
// X-Request-Id. Prefer: respond-async (RFC 7240) asks for 202 once the message
// is stored.
//
// # Outcomes
//
// One subscription, _INBOX.<unique>.*, serves all requests: the last token of
// a message's reply-to finds the request that waits for it. An outcome that
// comes before JetStream's ack proves that the message was stored.
//
// # Errors
//
// Every answer that is no success is a problem document (RFC 9457) whose type
// is urn:arrakis:problem: and one of these words:
//
//	400  malformed, no-community           field names the member or header at fault
//	401  unauthorized
//	404  not-found
//	405  method-not-allowed
//	408  body-timed-out
//	410  expired
//	413  too-large
//	415  unsupported-media-type
//	429  rate-limited                      with rate_limit and retry_after_ms
//	4xx  refused-by-handler                the handler's permanent code
//	502  handler-failed, bad-outcome
//	503  not-stored, busy, not-running, limits-unavailable   with Retry-After
//	504  no-outcome-yet                    the message is stored and will still be handled
//
// A client that leaves before its answer is counted with code 499.
//
// # Backpressure
//
// At most MaxInFlight requests are being read or stored, or wait for their
// outcome; the next is answered 503 at once. So bodies, waiting goroutines and
// unacknowledged publishes are bounded by the same number. One community may use
// a fourth of it, so that slow handlers of one leave room for the others.
//
// # Shutdown
//
// When the context of [Ingress.Run] ends, new requests are answered 503 while
// those in flight get their outcome, for DrainTimeout at most. Requests that
// still wait then are answered 504, or 503 if the message was not yet stored.
// Shut the http.Server down after Run has returned.
package ingress
