package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/rabbitmq"
)

type drainCmd struct {
	RabbitMQ drainRabbitMQCmd `cmd:"" name:"rabbitmq" help:"Move the messages of a queue of RabbitMQ to NATS, or back."`
}

type drainRabbitMQCmd struct {
	Queue      string        `placeholder:"NAME" help:"The queue. Required, but for --exchange. It must exist; nothing is declared or bound."`
	To         choice        `oneof:"commands,events,eligibility" default:"" placeholder:"KIND" help:"What its messages are: commands, events or eligibility (checks and syncs). Required."`
	Prefetch   int           `default:"500" min:"1" max:"1000" help:"How many messages are on their way at once, 1 to 1000."`
	Idle       time.Duration `default:"1m" min:"100ms" help:"For how long the queue must have been empty, or with --reverse nothing have gone back, until the command ends."`
	Follow     bool          `help:"Go on when the queue is empty, until the command is interrupted."`
	Limit      int           `default:"0" min:"0" help:"How many messages to move at most; 0 is all."`
	DryRun     bool          `help:"Only show what the first messages would become, 100 or as many as --limit says, and put them back."`
	Reverse    bool          `help:"The way back: move what waits in the stream of --to to the queue; what is in RETRY and OVERFLOW stays there. Stop the workers first."`
	Exchange   string        `placeholder:"NAME" help:"With --reverse: the exchange to publish to, in place of a queue."`
	RoutingKey string        `placeholder:"KEY" help:"With --exchange: the routing key."`
	Yes        bool          `help:"Do not ask before a --reverse."`
	rabbitMQSettings
	natsFlags
	logSettings
}

func (*drainRabbitMQCmd) Help() string {
	return `Each message is stored in its stream first, and only then acknowledged in RabbitMQ: none is lost, and one that comes twice is charged once. ` +
		`Its event ID is event_id of its envelope, or else the property message_id. What cannot be mapped becomes a dead letter ("arrakis dlq list"). ` +
		`Properties and headers become headers that begin with Amqp-. The command may be interrupted and started again, and may run several times at once. ` +
		`The exit code is 0 if the queue is empty (or --limit is reached, or --follow was interrupted) and both sides agree, else 1. ` +
		`docs/rabbitmq.md says how to move to NATS without a gap.`
}

func (c *drainRabbitMQCmd) validate(process) error {
	errs := []error{c.rabbitMQSettings.validate(), c.natsSettings.validate()}
	if c.To == "" {
		errs = append(errs, errors.New("--to is missing: expected commands, events or eligibility"))
	}
	switch {
	case c.Queue == "" && c.Exchange == "":
		errs = append(errs, errors.New("--queue is missing: expected the name of a queue"))
	case c.Queue != "" && c.Exchange != "":
		errs = append(errs, errors.New("--queue and --exchange: leave one out"))
	}
	switch {
	case c.Reverse && (c.Follow || c.DryRun):
		errs = append(errs, errors.New("--reverse goes without --follow and --dry-run"))
	case !c.Reverse && (c.Exchange != "" || c.RoutingKey != "" || c.Yes):
		errs = append(errs, errors.New("--exchange, --routing-key and --yes are for --reverse"))
	case c.RoutingKey != "" && c.Exchange == "":
		errs = append(errs, errors.New("--routing-key is for --exchange: with --queue it is the name of the queue"))
	}
	for _, f := range []struct{ name, value string }{{"--queue", c.Queue}, {"--exchange", c.Exchange}, {"--routing-key", c.RoutingKey}} {
		if len(f.value) > maxName {
			errs = append(errs, fmt.Errorf("%s has %d bytes: expected at most %d", f.name, len(f.value), maxName))
		}
	}
	return errors.Join(errs...)
}

// maxName is how many bytes a name or a routing key may have in AMQP.
const maxName = 255

func (c *drainRabbitMQCmd) Run(ctx context.Context, p process) error {
	server, err := c.server()
	if err != nil {
		return usageError{err}
	}
	switch {
	case c.DryRun:
		return explainRabbitMQ(c.look(ctx, p, server))
	case c.Reverse:
		return c.back(ctx, p, server)
	}
	nc, err := connectNATS(&c.natsSettings)
	if err != nil {
		return err
	}
	defer nc.Close()
	say := newTeller(p.stderr)
	counts, err := rabbitmq.Drain(ctx, rabbitmq.Options{
		Server: server, NATS: nc, Queue: c.Queue, To: rabbitmq.Destination(c.To), Prefetch: c.Prefetch, Idle: c.Idle,
		Follow: c.Follow, Limit: c.Limit, Logger: c.newLogger(p.stderr),
		Progress: func(n rabbitmq.Counts) {
			say("%d acknowledged, %s left; %d stored, %d stored before, %s%s", n.Acked, left(n.Left), n.Stored, n.Duplicates,
				plural(int(n.DeadLettered), "dead letter"), c.ends(n)) //nolint:gosec // a count
		},
	})
	if err != nil && counts.Delivered == 0 {
		return explainRabbitMQ(err)
	}
	return errors.Join(explainRabbitMQ(err), c.report(p, counts, err == nil))
}

// ends says when an empty queue ends the command, which otherwise seems to hang for --idle.
func (c *drainRabbitMQCmd) ends(n rabbitmq.Counts) string {
	if n.Left != 0 || c.Follow {
		return ""
	}
	return "; this ends when the queue was empty for " + short(c.Idle)
}

// report prints what was done. ended says that the drain has ended by itself or was interrupted, and has not failed.
func (c *drainRabbitMQCmd) report(p process, n rabbitmq.Counts, ended bool) error {
	done := n.Left == 0 || c.Follow || c.Limit > 0 && n.Acked >= uint64(c.Limit)
	document := struct {
		rabbitmq.Counts
		Empty bool `json:"empty"`
		Match bool `json:"match"`
	}{n, n.Left == 0, n.Match()}
	err := c.print(p.stdout, document, func(t *table) {
		t.row("RabbitMQ", fmt.Sprintf("%d delivered, %d of them again; %d acknowledged; %s left", n.Delivered, n.Redelivered, n.Acked, left(n.Left)))
		t.row("NATS", fmt.Sprintf("%d stored, %d stored before; %s", n.Stored, n.Duplicates, plural(int(n.DeadLettered), "dead letter"))) //nolint:gosec // a count
		if n.Reconnects > 0 {
			t.row("connection", "lost "+plural(int(n.Reconnects), "time")) //nolint:gosec // a count
		}
		if n.Others > 0 {
			t.row("warning", plural(n.Others, "other consumer")+" of the queue: what they hold is not counted, and what they took did not come here")
		}
		switch {
		case !n.Match():
			t.row("result", "the two sides do not agree: this is a fault of arrakis")
		case n.Left == 0:
			t.row("result", "the queue is empty, and both sides agree")
		default:
			t.row("result", "both sides agree; the same command goes on with what is left")
		}
	})
	if err == nil && ended && (!done || !n.Match()) {
		return errSilent
	}
	return err
}

func left(n int) string {
	if n < 0 {
		return "an unknown number"
	}
	return strconv.Itoa(n)
}

// look shows what messages would become.
func (c *drainRabbitMQCmd) look(ctx context.Context, p process, server rabbitmq.Server) error {
	preview, err := rabbitmq.Look(ctx, rabbitmq.Options{Server: server, Queue: c.Queue, To: rabbitmq.Destination(c.To), Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.print(p.stdout, preview, func(t *table) {
		dead := 0
		rows := [][]string{{"EVENT ID", "FROM", "COMMUNITY", "BYTES", "BECOMES"}}
		for _, m := range preview.Messages {
			becomes := m.Subject
			if m.Reason != "" {
				dead++
				becomes = "dead letter, " + string(m.Reason) + ": " + m.Error
			}
			rows = append(rows, []string{
				clip(cmp.Or(m.EventID, "-"), 20), cmp.Or(m.IDFrom, "-"), clip(cmp.Or(m.Community, "-"), 19), strconv.Itoa(m.Bytes), becomes,
			})
		}
		if len(rows) > 1 {
			for _, row := range rows {
				t.row(row...)
			}
			t.flush()
		}
		t.row(fmt.Sprintf("%d of %s looked at, %d would be dead letters", len(preview.Messages), plural(preview.Waiting, "message"), dead))
		if preview.Others > 0 {
			t.row(plural(preview.Others, "consumer") + " of the queue: what they hold is not seen")
		}
		if len(preview.Messages) > 0 {
			t.row("they are back in the queue, marked as redelivered")
		}
	})
}

// back is the way back.
func (c *drainRabbitMQCmd) back(ctx context.Context, p process, server rabbitmq.Server) error {
	o := rabbitmq.ReverseOptions{
		Server: server, From: rabbitmq.Destination(c.To), Exchange: c.Exchange, RoutingKey: cmp.Or(c.RoutingKey, c.Queue),
		Batch: c.Prefetch, Idle: c.Idle, Limit: c.Limit, Logger: c.newLogger(p.stderr),
	}
	if err := c.confirm(p, server); err != nil {
		return err
	}
	nc, err := connectNATS(&c.natsSettings)
	if err != nil {
		return err
	}
	defer nc.Close()
	say := newTeller(p.stderr)
	o.NATS = nc
	o.Progress = func(n rabbitmq.ReverseCounts) { say("%d confirmed by RabbitMQ, %d left", n.Confirmed, n.Left) }
	n, err := rabbitmq.Reverse(ctx, o)
	if err != nil && n.Taken == 0 {
		return explainRabbitMQ(err)
	}
	done := n.Left == 0 || c.Limit > 0 && n.Acked >= uint64(c.Limit)
	printed := c.print(p.stdout, n, func(t *table) {
		t.row("NATS", fmt.Sprintf("%d taken, %d of them again; %d acknowledged; %d left", n.Taken, n.Redelivered, n.Acked, n.Left))
		t.row("RabbitMQ", fmt.Sprintf("%d confirmed, %d returned", n.Confirmed, n.Returned))
		switch {
		case err != nil: // it says what to do
		case n.Left == 0:
			t.row("result", "nothing waits for the workers; what is in RETRY and in lanes (OVERFLOW) stays there")
		default:
			t.row("result", "the same command goes on with what is left")
		}
	})
	if err == nil && printed == nil && !done {
		return errSilent
	}
	return errors.Join(explainRabbitMQ(err), printed)
}

// confirm asks whether the way back is wanted.
func (c *drainRabbitMQCmd) confirm(p process, server rabbitmq.Server) error {
	if c.Yes {
		return nil
	}
	if c.JSON || p.ask == nil {
		return usageError{errors.New("this would move messages out of NATS: add --yes to do it")}
	}
	where := "the queue " + strconv.Quote(c.Queue)
	if c.Exchange != "" {
		where = "the exchange " + strconv.Quote(c.Exchange)
	}
	addr, _ := server.Address() // it was checked
	yes, err := p.ask(fmt.Sprintf("Move all %s that wait in NATS to %s of RabbitMQ at %s?", c.To, where, addr))
	if err != nil {
		return err
	}
	if !yes {
		_, _ = fmt.Fprintln(p.stderr, "arrakis: nothing is moved")
		return errSilent
	}
	return nil
}

// explainRabbitMQ adds advice to an error of package rabbitmq.
func explainRabbitMQ(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("%w: run a worker (`arrakis serve`), which creates it, or `arrakis provision --apply`", err)
	case errors.Is(err, rabbitmq.ErrWorkers):
		return fmt.Errorf("%w; a worker that was killed counts for up to 30 s", err)
	case errors.Is(err, rabbitmq.ErrReturned):
		return fmt.Errorf("%w: nothing was lost, the messages are still in NATS; check --queue, or the bindings of --exchange", err)
	case dialled(err):
		return fmt.Errorf("%w; is it running, and is RABBITMQ_URL right?", err)
	case rabbitmq.Refused(err):
		return fmt.Errorf("%w; check user, password and vhost in RABBITMQ_URL, the name of the queue, and what the user may do", err)
	}
	return err
}

// dialled reports whether err says that an address could not be reached.
func dialled(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// newTeller returns a function that prints how far a command has come: each time on a terminal, else every 30 seconds.
func newTeller(stderr io.Writer) func(format string, values ...any) {
	every, said := 30*time.Second, time.Now()
	if terminal(stderr) {
		every = 0
	}
	last := ""
	return func(format string, values ...any) {
		line := fmt.Sprintf(format, values...)
		if line == last || time.Since(said) < every {
			return
		}
		said, last = time.Now(), line
		_, _ = io.WriteString(stderr, "arrakis: "+strings.TrimSpace(line)+"\n")
	}
}
