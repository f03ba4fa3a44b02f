package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/program"
)

// ledger counts the runs of handlers by event ID. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex // protects the field below
	byID map[string]int
}

func newLedger() *ledger { return &ledger{byID: map[string]int{}} }

func (l *ledger) ran(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[id]++
}

// eventID is the event ID of a message. Every second message has it in its envelope, the others as message_id.
func eventID(i int) string { return fmt.Sprintf("event-%07d", i) }

func message(i int) amqp.Publishing {
	id := fmt.Sprintf(`"event_id":%q,`, eventID(i))
	p := amqp.Publishing{DeliveryMode: amqp.Persistent}
	if i%2 == 1 {
		id, p.MessageId = "", eventID(i)
	}
	p.Body = fmt.Appendf(nil, `{%s"event_type":"eligibility.check","check_type":"single","community_id":"comm_%03d","wallet_address":"0x%040d"}`,
		id, i/perCommunity, i)
	return p
}

// fill puts the messages into the queue.
func (s *site) fill(ctx context.Context, messages int) error {
	return s.withChannel(ctx, func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		const batch = 1_000
		for from := 0; from < messages; from += batch {
			var confirms []*amqp.DeferredConfirmation
			for i := from; i < min(from+batch, messages); i++ {
				c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, message(i))
				if err != nil {
					return fmt.Errorf("fill the queue: %w", err)
				}
				confirms = append(confirms, c)
			}
			for _, c := range confirms {
				if ok, err := c.WaitContext(ctx); err != nil || !ok {
					return fmt.Errorf("fill the queue: not confirmed, %w", errors.Join(err, ctx.Err()))
				}
			}
		}
		return nil
	})
}

// bridge is one `arrakis drain rabbitmq`.
type bridge struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	ended  chan error // gets the error of its end
}

func (s *site) startBridge(o options) (*bridge, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, "bridge.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the folder of this run
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has it
	b := &bridge{ended: make(chan error, 1)}
	b.cmd = exec.Command(o.arrakis, "drain", "rabbitmq", "--queue", queue, "--to", "eligibility", "--idle", "5s", "--json") //nolint:gosec // just built
	b.cmd.Env = append(os.Environ(), "RABBITMQ_URL="+s.rabbitMQ, "NATS_URL="+s.natsURL, "LOG_FORMAT=json")
	b.cmd.Stdout, b.cmd.Stderr, b.cmd.SysProcAttr = &b.stdout, log, program.OwnGroup()
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { b.ended <- b.cmd.Wait() }() // ends with the process, which whoever starts it waits for or kills
	return b, nil
}

func (b *bridge) kill() error {
	_ = b.cmd.Process.Kill() // it may have ended
	return <-b.ended
}

// stored is how many messages the stream has taken in all.
func (s *site) stored(ctx context.Context) (int, error) {
	st, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return int(st.CachedInfo().State.LastSeq), nil //nolint:gosec // a few
}

// reach waits until the stream has taken so many messages.
func (s *site) reach(ctx context.Context, b *bridge, want int) error {
	for {
		n, err := s.stored(ctx)
		if err == nil && n >= want {
			return nil
		}
		select {
		case err := <-b.ended:
			b.ended <- err
			return fmt.Errorf("the bridge has ended by itself after %d messages: %w", n, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// within is how long a run may take after the queue was filled.
const within = 15 * time.Minute

// drain makes the run.
func drain(ctx context.Context, o options, dir string, p *program.Progress) (*result, error) {
	s, err := startSite(ctx, o, dir)
	defer s.close()
	if err != nil {
		return nil, err
	}
	p.Say("filling the queue with %d messages", o.messages)
	if err := s.fill(ctx, o.messages); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %v", within))
	defer cancel()
	r := &result{Messages: o.messages}
	began := time.Now()
	b, err := s.strike(ctx, o, p, r)
	if err != nil {
		return nil, err
	}
	p.Say("waiting for the end of the bridge, and of the last message")
	select {
	case err := <-b.ended:
		if err != nil {
			r.BridgeFailed = err.Error()
		}
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), b.kill())
	}
	r.Took = time.Since(began)
	if err := json.Unmarshal(b.stdout.Bytes(), &r.Bridge); err != nil {
		return nil, fmt.Errorf("the bridge says %q: %w", b.stdout.String(), err)
	}
	if err := s.settled(ctx); err != nil {
		return nil, err
	}
	return r, s.audit(ctx, r)
}

// strike starts the bridge, and kills RabbitMQ, the bridge and NATS in turn. It returns the bridge that runs then.
func (s *site) strike(ctx context.Context, o options, p *program.Progress, r *result) (b *bridge, err error) {
	if b, err = s.startBridge(o); err != nil {
		return nil, err
	}
	again := func(process *program.Process) error {
		process.Kill()
		return errors.Join(program.Pause(ctx, 500*time.Millisecond), process.Start())
	}
	for i, kill := range []struct {
		name string
		do   func() error
	}{
		{"RabbitMQ", func() error { return again(s.rabbit) }},
		{"the bridge", func() (err error) {
			_ = b.kill() // "killed"
			b, err = s.startBridge(o)
			return err
		}},
		{"NATS", func() error { return again(s.natsNode.Process) }},
	} {
		if err := s.reach(ctx, b, (i+1)*o.messages/4); err != nil {
			return nil, errors.Join(err, b.kill())
		}
		n, err := s.stored(ctx)
		if err != nil {
			return nil, errors.Join(err, b.kill())
		}
		p.Say("%d stored: %s is killed", n, kill.name)
		r.Kills = append(r.Kills, strike{kill.name, n})
		if err := kill.do(); err != nil {
			return nil, fmt.Errorf("kill %s: %w", kill.name, err)
		}
	}
	return b, nil
}

// settled waits until no stream holds a message that is to be handled.
func (s *site) settled(ctx context.Context) error {
	return program.Poll(ctx, func() error {
		for _, name := range []string{stream, "RETRY", "OVERFLOW"} {
			st, err := s.js.Stream(ctx, name)
			if err != nil {
				return err
			}
			if n := st.CachedInfo().State.Msgs; n > 0 {
				return fmt.Errorf("%s holds %d messages", name, n)
			}
		}
		return nil
	})
}

// audit follows every message to its end, and counts every permit.
func (s *site) audit(ctx context.Context, r *result) error {
	s.runs.mu.Lock()
	defer s.runs.mu.Unlock()
	for i := range r.Messages {
		runs := s.runs.byID[eventID(i)]
		if runs == 0 {
			r.Lost++
		}
		r.Repeats += max(0, runs-1)
	}
	r.Strangers = len(s.runs.byID) - (r.Messages - r.Lost)
	for _, id := range communities(r.Messages) {
		n, err := s.rdb.ZCount(ctx, "ratelimit:"+id+":eligibility_check", "0", "+inf").Result()
		if err != nil {
			return fmt.Errorf("count permits: %w", err)
		}
		r.Permits += int(n)
	}
	letters, err := s.js.Stream(ctx, "DEADLETTER")
	if err != nil {
		return fmt.Errorf("look at the dead letters: %w", err)
	}
	r.DeadLetters = int(letters.CachedInfo().State.Msgs) //nolint:gosec // a few
	if r.Stored, err = s.stored(ctx); err != nil {
		return err
	}
	return s.withChannel(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		r.Left = q.Messages
		return err
	})
}
