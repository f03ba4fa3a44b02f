// Package rabbitmq moves messages from a queue of RabbitMQ to the streams of arrakis, and back in an emergency.
//
// # What it promises
//
// [Drain] takes a message from RabbitMQ only for good: it is acknowledged there once JetStream has confirmed that it is
// stored, or once it is a dead letter. So whatever ends in between (this process, RabbitMQ, NATS, a connection), no message
// is lost; some come a second time. A message that comes again has the same event ID and the same Nats-Msg-Id. JetStream
// drops it if it has stored it within its duplicate window (2 minutes by default, and on a work queue only until the
// server restarts). Otherwise it is stored again: limits charge it once all the same, its handler may run again.
//
// The body is not changed. Where it lacks event_id it gets one, that of the property message_id; and as for a message over
// HTTP it gets the event_type of its kind, where that has one. Whatever AMQP says of the message is in headers that begin
// with Amqp-.
//
// A message without an event ID, in its body or as message_id, becomes a dead letter. Nothing that could be made up for it
// would be the same when it comes again: a new ID would be charged again, a hash of the body would take two equal
// messages for one, and the delivery tag is that of a channel. So do messages that are not an envelope, have no community,
// or are too large for NATS.
//
// Nothing is declared in RabbitMQ. The queue must exist, and so must the streams.
//
// # Backpressure
//
// At most Prefetch messages are held, all of them unacknowledged in RabbitMQ. While NATS is away, or a stream is full, they
// are tried again, with pauses of up to 5 seconds, and no more are taken.
//
// # Order
//
// Messages are stored in the order in which RabbitMQ delivers them. Those that come a second time, or that NATS did not
// take at once, come later.
//
// # A lost connection
//
// A connection to RabbitMQ that is lost is replaced by a new one with a new channel; what was delivered on the old one is
// forgotten, since RabbitMQ delivers it again. The recovery of amqp091-go is not used: on a channel that it has recovered,
// an acknowledgement of an earlier delivery would be for another message, which would be lost. A connection that RabbitMQ
// refuses ten times in a row, because there is no such queue or no permission, is an error.
//
// A message that amqp091-go cannot read, such as one whose headers are nested more than 32 deep, ends each connection that
// it comes on. Drain then takes one message at a time, until only that one is next, and ends with an error.
//
// # The way back
//
// [Reverse] takes messages from the consumer of a stream, publishes them to RabbitMQ with mandatory and publisher
// confirms, and acknowledges them in JetStream once RabbitMQ has confirmed and has not returned them. A message that then comes
// to NATS again has another Nats-Msg-Id, made of the place where it was, and is stored again.
//
// # Secrets
//
// The password of the URL is in no error, log line or count. What RabbitMQ says of a refusal may name the user and the vhost.
package rabbitmq
