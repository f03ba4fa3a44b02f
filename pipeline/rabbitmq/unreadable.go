package rabbitmq

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxUnreadable is how many sessions in a row may end by a message that cannot be read and that nothing was before. It is
// well below the 20 deliveries after which a quorum queue of RabbitMQ 4 gives up a message.
const maxUnreadable = 3

// errUnreadable says what to do about a message that ends each connection that it comes on.
var errUnreadable = errors.New("the next message of the queue cannot be read by the client library of AMQP, " +
	"as when its headers are nested more than 32 deep, and stands in the way of those behind it: " +
	"take it out, with RabbitMQ's management (Get messages, with the ack mode \"Automatic ack\") " +
	"or with `rabbitmqadmin get queue=… ackmode=ack_requeue_false`, or let it expire; then run the same command again")

// isUnreadable reports whether a frame has ended the connection because the library cannot read it. The library keeps only
// the text of the cause.
func isUnreadable(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && !e.Server && e.Code == amqp.FrameError && e.Reason == amqp.ErrSyntax.Error()
}

// careful says that the last session, or one shortly before, was ended by a message that cannot be read. A session is then
// one with a prefetch of 1: RabbitMQ sends the message only when all that is before it is acknowledged. So each session
// goes on where the one before has ended, and in the end the message is the next one.
func (d *drain) careful() bool { return d.unreadable > 0 }

// past reports whether a careful session has taken all that can have been in front of the message that ended the one
// before. Somebody has taken it out, and a session with the whole Prefetch is to go on.
func (f *flight) past() bool { return f.careful() && f.taken >= f.Prefetch }

// ended takes the error that has ended a flight.
func (d *drain) ended(f *flight, err error) error {
	switch {
	case errors.Is(err, errMore):
		d.unreadable = 0
		return err
	case !isUnreadable(err):
		return err
	case f.taken > 0 || !d.careful():
		d.unreadable = 1
	default:
		d.unreadable++
	}
	if d.unreadable >= maxUnreadable {
		return finalError{d.Server.explain(errUnreadable)}
	}
	return fmt.Errorf("a message cannot be read: %w", err)
}
