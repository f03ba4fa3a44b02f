package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

type sendCmd struct {
	Community string        `arg:"" help:"ID that the message carries."`
	Command   string        `arg:"" help:"Command; with --kind a check type or an event type."`
	Data      string        `placeholder:"JSON" help:"The message's data, an object such as '{\"options\":{\"text\":\"hi\"}}'."`
	Kind      choice        `oneof:"command,eligibility,sync,event" default:"command" help:"command, eligibility, sync or event."`
	Wait      time.Duration `default:"10s" max:"1h" help:"How long to wait for the reply."`
	natsFlags
}

// message makes the message to publish. It checks the message as a worker does.
func (c *sendCmd) message() (subject string, body []byte, err error) {
	e := map[string]any{
		"event_id": nuid.Next(), "community_id": c.Community, "timestamp": time.Now().UnixMilli(),
	}
	data := map[string]any{}
	if c.Data != "" {
		if err := json.Unmarshal([]byte(c.Data), &data); err != nil || data == nil {
			return "", nil, fmt.Errorf("--data: expected a JSON object, such as '{\"options\":{}}'")
		}
	}
	e["data"] = data
	route := contract.KindCommand.Route()
	for _, r := range contract.Routes() {
		if r.Name == string(c.Kind) {
			route = r.Kind.Route()
		}
	}
	e["event_type"] = cmp.Or(route.EventType, c.Command)
	switch route.Kind {
	case contract.KindCommand:
		data["command_name"] = c.Command
	case contract.KindEligibility, contract.KindSync:
		e["check_type"] = c.Command
	case contract.KindEvent:
	}
	if body, err = json.Marshal(e); err != nil {
		return "", nil, err
	}
	decoded, err := contract.Decode(route.Kind, body)
	if err != nil {
		return "", nil, err
	}
	return route.SubjectFor(&decoded), body, nil
}

func (c *sendCmd) Run(ctx context.Context, p process) error {
	subject, body, err := c.message()
	if err != nil {
		return usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	var reply []byte
	err = c.withJetStream(func(nc *nats.Conn, js jetstream.JetStream) (err error) {
		reply, err = request(ctx, nc, js, subject, body, c.Wait)
		return err
	})
	if err != nil {
		return err
	}
	var o contract.Outcome
	if err := json.Unmarshal(reply, &o); err != nil {
		return fmt.Errorf("the reply is not an outcome: %w", err)
	}
	if c.JSON { // byte for byte as it was received
		_, err = p.stdout.Write(append(reply, '\n'))
	} else {
		err = c.print(p.stdout, nil, func(t *table) { outcomeTable(t, &o) })
	}
	if err != nil {
		return err
	}
	if o.Status != contract.StatusOK {
		return errSilent // the printed outcome says why
	}
	return nil
}

// request stores a message and waits for its outcome until ctx ends, which is after wait.
func request(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, subject string, body []byte, wait time.Duration) ([]byte, error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(subject)
	m.Header.Set(contract.HeaderReplyTo, inbox)
	m.Header.Set(contract.HeaderWait, strconv.FormatInt(max(1, wait.Milliseconds()), 10))
	m.Data = body
	switch ack, err := js.PublishMsg(ctx, m); {
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("no stream takes %s: run a worker (`arrakis serve`), which creates the streams, or `arrakis provision --apply`", subject)
	case streams.Full(err):
		return nil, fmt.Errorf("publish on %s: %w: the stream is full and takes no message until workers have caught up; `arrakis status` shows it", subject, err)
	case err != nil:
		return nil, fmt.Errorf("publish on %s: %w", subject, err)
	default:
		reply, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("stored in %s as %d, but no reply came in time: is a worker running? The message will still be handled; wait longer with --wait",
				ack.Stream, ack.Sequence)
		}
		if err != nil {
			return nil, fmt.Errorf("wait for the reply: %w", err)
		}
		return reply.Data, nil
	}
}

func outcomeTable(t *table, o *contract.Outcome) {
	t.row("status", string(o.Status))
	nothing := o.Status == contract.StatusRateLimited && o.RateLimit != nil && o.RateLimit.Limit == 0
	switch {
	case nothing: // waiting does not help
		t.row("error", "the limit is 0, which admits nothing; raise it (429)")
	case o.Error != nil:
		t.row("error", fmt.Sprintf("%s (%d)", o.Error.Message, o.Error.Code))
		if o.Error.RetryAfterMS > 0 {
			t.row("retry after", short(milliseconds(o.Error.RetryAfterMS)))
		}
	}
	if len(o.Result) > 0 {
		t.row("result", string(o.Result))
	}
	t.row("community", o.Community+" ("+o.Tier+")")
	if r := o.RateLimit; r != nil {
		left := count(r.Remaining)
		if r.Limit >= 0 {
			left = fmt.Sprintf("%d of %d (%s)", r.Remaining, r.Limit, r.Action)
			if r.ResetMS > 0 {
				left += ", resets in " + short(milliseconds(r.ResetMS))
			}
		}
		t.row("remaining", left)
		if r.RetryAfterMS > 0 && !nothing {
			t.row("retry after", short(milliseconds(r.RetryAfterMS)))
		}
	}
	t.row("event", o.EventID)
}
