package rabbitmq

import (
	"cmp"
	"context"
	"fmt"

	"arrakis/pipeline/contract"
)

// Preview is what [Look] has seen.
type Preview struct {
	Messages []Looked `json:"messages"`
	Waiting  int      `json:"waiting"`         // messages in the queue, with those above
	Others   int      `json:"other_consumers"` // of the queue
}

// Looked is one message, and what Drain would make of it.
type Looked struct {
	EventID   string `json:"event_id"`
	IDFrom    string `json:"event_id_from"` // "envelope" or "message_id"; "" without an ID
	Community string `json:"community_id"`
	Kind      string `json:"kind"`
	Subject   string `json:"subject"`
	Bytes     int    `json:"bytes"` // of the body
	// Reason and Error are those of a dead letter, "" for a message of a stream.
	Reason contract.Reason `json:"reason,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Look reads messages of a queue, at most Limit, says what [Drain] would make of them, and gives them back. For that
// moment no other consumer gets them. AMQP has no way to look that leaves no trace: RabbitMQ marks the messages as
// redelivered, and a quorum queue counts it as a delivery, of which it may have a limit. Look publishes nothing.
func Look(ctx context.Context, o Options) (Preview, error) {
	p := Preview{Messages: []Looked{}}
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return p, err
	}
	if err := p.fill(ctx, &o); err != nil {
		return p, o.Server.explain(err)
	}
	return p, nil
}

func (p *Preview) fill(ctx context.Context, o *Options) error {
	s, err := openSession(ctx, o.Server)
	if err != nil {
		return err
	}
	defer s.close()
	q, err := s.ch.QueueDeclarePassive(o.Queue, true, false, false, false, nil)
	if err != nil {
		return err
	}
	p.Waiting, p.Others = q.Messages, q.Consumers
	m := mapping{queue: o.Queue, to: o.To}
	for range min(cmp.Or(o.Limit, 100), maxLook) {
		d, ok, err := s.ch.Get(o.Queue, false)
		if err != nil {
			if isUnreadable(s.reason(err)) {
				return fmt.Errorf("after %d messages that can be read: %w", len(p.Messages), errUnreadable)
			}
			return err
		}
		if !ok || ctx.Err() != nil {
			break
		}
		p.Messages = append(p.Messages, looked(m.mapped(&d), len(d.Body)))
	}
	return s.ch.Close() // which gives back what was not acknowledged
}

func looked(m mapped, size int) Looked {
	l := Looked{EventID: m.envelope.EventID, Community: m.envelope.TenantKey, Kind: m.kind.String(), Bytes: size}
	switch {
	case m.letter != nil:
		l.Subject, l.Reason, l.Error = contract.DeadLetterSubject(m.letter.Stream, m.letter.Reason), m.letter.Reason, m.letter.Cause
	default:
		l.Subject = m.msg.Subject
	}
	if l.EventID != "" {
		l.IDFrom = "envelope"
		if m.fromMessageID {
			l.IDFrom = "message_id"
		}
	}
	return l
}
