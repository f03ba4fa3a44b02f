// Package ingress takes commands, eligibility checks, syncs and events over HTTP. It stores each message once in
// JetStream. Then it waits for the outcome that a worker publishes, unless the client prefers not to wait. It knows
// neither tenants' limits nor handlers: any worker on the same NATS may handle the message.
//
// A worker publishes an outcome; the HTTP client gets an answer.
//
//	POST /v1/commands             commands.interaction.<community>
//	POST /v1/eligibility/checks   eligibility.check.<check_type>.<community>
//	POST /v1/eligibility/syncs    eligibility.sync.<check_type>.<community>   always 202
//	POST /v1/events               events.<event_type>.<community>             always 202
//
// # Requests
//
// The body is the envelope, at most MaxBody bytes. It is stored byte for byte, except that a missing event_id or
// event_type is added in front. The added event ID is the value of the header Idempotency-Key (bare, or a quoted string
// as in RFC 9651), or a new UUID if there is no such header. The added event type is the route's. An event_id in the
// body wins over the header.
//
// The headers X-Request-Id (up to 128 visible ASCII characters) and traceparent (W3C) are copied to the message; an
// invalid value is ignored. From a client that is not trusted (TrustTraces) the traceparent comes without its sampled flag, if
// the message is not recorded. The response always carries X-Request-Id. Prefer: respond-async (RFC 7240) asks for 202
// once the message is stored.
//
// # Repeated requests
//
// A request whose event ID is the client's can be repeated ([Options.Idempotency]). An event ID belongs to the
// community, the route and the message, byte for byte, of the first request with it; tokens and other headers do not
// count.
//
//	answered before    the same status and body, with Idempotent-Replayed: true; nothing runs or is charged
//	still running      409 still-running, with Retry-After; also after 504, or when the client has left
//	another message    422 idempotency-key-reused
//	anything else      runs
//
// Answers are kept for a day: 200, 202, and what a handler refuses for good, which is its 4xx other than 408, 425 and
// 429. After 429, 410 expired and 5xx the request may be tried again. If its handler ran, it must be the same message,
// which is not charged again. After 504 the outcome is waited for, for up to 15 minutes, so that the repeated request
// gets it. An event ID that the ingress made up is told to the client, but is refused with 422, because it is a permit
// already.
//
// While Redis is away, requests run at most once in each process, or are answered 503. Package idempotency says what is
// lost, and when.
//
// # Lanes
//
// A message of a community that is in a lane and unlimited is stored in its lane, in OVERFLOW, and not in the stream of
// its route, where it would only be moved from. A community changes over to its lane when its stream holds none of its
// messages any more, so that those that went through this process keep their order; until then, for half a second at most,
// its requests wait. If it has its part of OVERFLOW, the request is refused: 503 stream-full. See package lanes.
//
// # Outcomes
//
// One subscription, _INBOX.<unique>.*, serves all requests. The last token of a message's reply-to identifies the
// waiting request. An outcome that arrives before JetStream's ack proves that the message was stored.
//
// # Errors
//
// Every answer that is not a success is a problem document (RFC 9457). Its type is urn:arrakis:problem: and one of
// these words:
//
//	400  malformed, no-community           field names the member or header at fault
//	401  unauthorized
//	404  not-found
//	405  method-not-allowed
//	408  body-timed-out
//	409  still-running                     the same request runs; with Retry-After
//	409  answer-not-kept                   the same request has run, but its answer was too large to be kept
//	410  expired
//	413  too-large
//	415  unsupported-media-type
//	422  idempotency-key-reused            the event ID belongs to another request
//	429  rate-limited                      with rate_limit and retry_after_ms
//	4xx  refused-by-handler                the handler's permanent code
//	502  handler-failed, bad-outcome
//	503  not-stored, stream-full, busy, not-running, limits-unavailable, overloaded   with Retry-After
//	504  no-outcome-yet                    the message is stored and will still be handled
//
// A client that disconnects before its answer is counted with code 499.
//
// # Backpressure
//
// At most MaxInFlight requests are in flight: being stored, or waiting for their outcome. A further request is answered
// 503 at once. So the same number bounds waiting goroutines and unacknowledged publishes. One community may have a
// fourth of MaxInFlight, so that a community with slow handlers leaves room for other communities.
//
// A request whose body is not there yet is not in flight. At most MaxReading bodies are read at once; one more cuts off
// the body that has been read for the longest (408). A body is cut off after 10 s in any case; see [Ingress.Server]. So
// thousands of clients that send nothing cannot keep out one that does. Neither can clients that only connect: of more
// than MaxConnections connections, the one that has waited for a request for the longest is closed.
//
// A request whose event ID is remembered is followed to its end, also if its client leaves. As many requests as may be
// in flight may be waited for after their client was answered 504, with the same share for a community; one more counts
// as running for another minute.
//
// # Shutdown
//
// When the context of [Ingress.Run] ends, new requests are answered 503, as are those whose bodies are not there yet.
// Requests in flight may wait for their outcome for DrainTimeout. Then waiting requests are answered 504, or 503 if
// their message is not yet stored. Shut the http.Server down after Run has returned.
package ingress
