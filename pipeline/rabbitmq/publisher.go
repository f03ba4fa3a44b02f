package rabbitmq

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/pipeline/contract"
)

// published is what RabbitMQ says of a message.
type published uint8

const (
	unknown   published = iota // no answer: RabbitMQ may have it or not
	confirmed                  // a queue has it, on disk if it is durable
	returned                   // no queue takes it
	refused                    // a queue does not take it now, as when it is at its bound
)

// publisher publishes messages on a session, with mandatory and publisher confirms.
type publisher struct {
	*session
	exchange, key string
	// returns has room for a batch: the library drops what nobody takes, and a message that was returned is confirmed too.
	returns chan amqp.Return
}

func newPublisher(s *session, exchange, key string, batch int) (*publisher, error) {
	if err := s.ch.Confirm(false); err != nil {
		return nil, err
	}
	return &publisher{session: s, exchange: exchange, key: key, returns: s.ch.NotifyReturn(make(chan amqp.Return, batch))}, nil
}

// placeHeader is the header that tells a returned message from others, and a message that went back from what it was
// before: its place in its stream.
const placeHeader = "arrakis-place"

// publish publishes messages and waits for RabbitMQ's answers. After an error, those that were not answered are unknown.
func (p *publisher) publish(ctx context.Context, messages []jetstream.Msg) ([]published, error) {
	results := make([]published, len(messages))
	confirms := make([]*amqp.DeferredConfirmation, 0, len(messages))
	byPlace := make(map[string]int, len(messages))
	// While RabbitMQ is short of memory or disk it reads nothing, and publishing waits without a look at ctx.
	detach := context.AfterFunc(ctx, func() { _ = p.conn.CloseDeadline(time.Now()) })
	defer detach()
	var failed error
	for i, m := range messages {
		place, publishing := publishingOf(m)
		byPlace[place] = i
		c, err := p.ch.PublishWithDeferredConfirmWithContext(ctx, p.exchange, p.key, true, false, publishing)
		if err != nil {
			failed = err
			break
		}
		confirms = append(confirms, c)
	}
	for i, c := range confirms {
		acked, err := c.WaitContext(ctx)
		switch {
		case acked:
			results[i] = confirmed
		case failed != nil:
		case err != nil:
			failed = fmt.Errorf("RabbitMQ has not confirmed in time: %w", err)
		case p.ch.IsClosed():
			failed = p.lost()
		default:
			results[i] = refused
		}
	}
	// RabbitMQ returns a message before it confirms it, and the library hands over both in that order.
	for {
		select {
		case r, ok := <-p.returns:
			if !ok {
				return results, failed
			}
			place, _ := r.Headers[placeHeader].(string)
			if i, ok := byPlace[place]; ok {
				results[i] = returned
			}
		default:
			return results, failed
		}
	}
}

// publishingOf is the message for RabbitMQ, and its place in its stream. The body is as it is. Properties that came from
// AMQP and say what the message is are given back; how RabbitMQ should handle it, such as its priority or expiration, is
// not. Nothing of a message may make RabbitMQ or the library close the channel, for it would do so again and again.
func publishingOf(m jetstream.Msg) (place string, _ amqp.Publishing) {
	h := m.Headers()
	p := amqp.Publishing{
		DeliveryMode: amqp.Persistent, ContentType: "application/json", Body: m.Data(), Headers: amqp.Table{},
		MessageId: shortOf(h, "Message-Id"), Type: shortOf(h, "Type"), CorrelationId: shortOf(h, "Correlation-Id"),
		ReplyTo: shortOf(h, "Reply-To"), AppId: shortOf(h, "App-Id"),
	}
	if p.ReplyTo == "amq.rabbitmq.reply-to" { // RabbitMQ takes it only from a channel that consumes the answers
		p.ReplyTo = ""
	}
	if e, err := contract.DecodePartial(kindOf(m.Subject()), m.Data()); err == nil && e.EventID != "" {
		p.MessageId = e.EventID
	}
	if meta, err := m.Metadata(); err == nil {
		place = fmt.Sprintf("%s:%d", meta.Stream, meta.Sequence.Stream)
		p.Timestamp = meta.Timestamp.Truncate(time.Second)
	}
	for name, values := range h {
		if given, ok := givenBack(name); ok && len(values) > 0 {
			p.Headers[given] = contract.Clip(values[0], maxHeaderValue)
		}
	}
	p.Headers[placeHeader] = place
	return place, p
}

// shortOf is a property that came from AMQP; "" if it is longer than AMQP takes: another publisher has written it, or
// bytes that were no text have become longer.
func shortOf(h nats.Header, name string) string {
	if v := h.Get(headerPrefix + name); len(v) <= maxShort {
		return v
	}
	return ""
}

// givenBack is the name of a header of NATS in AMQP. What RabbitMQ itself writes, and what is of NATS and of arrakis, is
// not given back; nor are CC and BCC, in which RabbitMQ looks for more routing keys.
func givenBack(name string) (string, bool) {
	if name == contract.HeaderTraceParent || name == contract.HeaderTraceState {
		return name, true
	}
	other, ok := strings.CutPrefix(name, headerOther)
	return other, ok && len(other) <= maxHeaderName && !strings.HasPrefix(other, "x-") && !slices.Contains([]string{"CC", "BCC", placeHeader}, other)
}

func kindOf(subject string) contract.Kind {
	if r, ok := contract.RouteOf(subject); ok {
		return r.Kind
	}
	return contract.KindCommand
}
