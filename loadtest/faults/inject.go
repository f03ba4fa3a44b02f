package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/program"
)

// hold is how long most faults last.
func hold(draw *rand.Rand) time.Duration { return between(draw, time.Second, 4*time.Second) }

// anyWorker draws a worker and names it as the target.
func (r *run) anyWorker(draw *rand.Rand, f *fault) *worker {
	w := r.workers[draw.IntN(len(r.workers))]
	f.Target = w.Name
	return w
}

// anyNode draws a nats-server and names it as the target.
func (r *run) anyNode(draw *rand.Rand, f *fault) *program.NATS {
	n := r.nodes[draw.IntN(len(r.nodes))]
	f.Target = n.Name
	return n
}

func killWorker(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	d := hold(draw)
	w := r.anyWorker(draw, f)
	w.Down(d)
	w.Kill()
	return program.Pause(ctx, d)
}

// freezeWorker freezes for up to twice the ack wait, so that others get the messages that the worker holds.
func freezeWorker(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return freeze(ctx, r.anyWorker(draw, f).Process, between(draw, time.Second, 2*ackWait))
}

func freeze(ctx context.Context, p *program.Process, d time.Duration) error {
	p.Freeze()
	defer p.Thaw()
	return program.Pause(ctx, d)
}

func drainWorker(_ context.Context, r *run, draw *rand.Rand, f *fault) error {
	return r.anyWorker(draw, f).Drain() // its supervisor starts it again
}

func killNATS(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return restart(ctx, r.anyNode(draw, f).Process, hold(draw))
}

// restart kills a server and starts it again after d.
func restart(ctx context.Context, p *program.Process, d time.Duration) error {
	p.Kill()
	return errors.Join(program.Pause(ctx, d), p.Start())
}

func freezeNATS(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return freeze(ctx, r.anyNode(draw, f).Process, hold(draw))
}

func killRedis(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = "redis"
	return restart(ctx, r.redis.Process, hold(draw))
}

func freezeRedis(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = "redis"
	return freeze(ctx, r.redis.Process, hold(draw))
}

func stepForward(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	d := between(draw, 5*time.Second, 90*time.Second).Round(time.Second)
	f.Target = "by " + d.String()
	_, err := r.redis.step(ctx, d)
	return err
}

func stepBack(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	d := between(draw, 5*time.Second, 50*time.Second).Round(time.Second)
	f.Target = "by " + d.String()
	return r.stepBack(ctx, d)
}

func cutNATS(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return cut(ctx, r.anyWorker(draw, f).nats, hold(draw))
}

func cutRedis(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return cut(ctx, []*link{r.anyWorker(draw, f).redis}, hold(draw))
}

func cut(ctx context.Context, links []*link, d time.Duration) error {
	for _, l := range links {
		l.cut()
	}
	errs := []error{program.Pause(ctx, d)}
	for _, l := range links {
		errs = append(errs, l.mend())
	}
	return errors.Join(errs...)
}

func delayNATS(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	by := between(draw, 20*time.Millisecond, 400*time.Millisecond)
	w := r.anyWorker(draw, f)
	f.Target += ", " + by.String()
	return toxic(ctx, w.nats, hold(draw), func(l *link) error { return l.delay(by) })
}

func delayRedis(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	by := between(draw, 20*time.Millisecond, 400*time.Millisecond)
	w := r.anyWorker(draw, f)
	f.Target += ", " + by.String()
	return toxic(ctx, []*link{w.redis}, hold(draw), func(l *link) error { return l.delay(by) })
}

// silenceNATS lasts longer than the ack wait: the worker must go without what it thinks it has.
func silenceNATS(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return toxic(ctx, r.anyWorker(draw, f).nats, between(draw, time.Second, 2*ackWait), (*link).silence)
}

func silenceRedis(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	return toxic(ctx, []*link{r.anyWorker(draw, f).redis}, hold(draw), (*link).silence)
}

func toxic(ctx context.Context, links []*link, d time.Duration, add func(*link) error) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, add(l))
	}
	errs = append(errs, program.Pause(ctx, d))
	for _, l := range links {
		l.clear(ctx)
	}
	return errors.Join(errs...)
}

// fillCommands leaves COMMANDS room for a few messages, and pauses its consumer.
func fillCommands(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = "COMMANDS"
	d := hold(draw)
	if _, err := r.js.PauseConsumer(ctx, f.Target, "command-worker", time.Now().Add(d)); err != nil {
		return fmt.Errorf("pause command-worker: %w", err)
	}
	return r.fill(ctx, f.Target, func() error { return program.Pause(ctx, d) })
}

// fillLanes leaves OVERFLOW room for a few messages, while a burst comes in.
func fillLanes(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = overflow
	n := r.all + len(r.faults) // a burst beside those of the slots
	var g errgroup.Group
	g.Go(func() error { return r.load.burst(ctx, n) })
	err := r.fill(ctx, f.Target, func() error { return program.Pause(ctx, hold(draw)) })
	return errors.Join(err, g.Wait())
}

// fillDeadLetters leaves DEADLETTER no room, and lets it refuse what comes.
func fillDeadLetters(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = deadLetters
	return r.fill(ctx, f.Target, func() error { return program.Pause(ctx, hold(draw)) })
}

// fill makes a stream so small that it takes a few messages at most, and refuses all others, while f runs.
func (r *run) fill(ctx context.Context, name string, f func() error) error {
	const bytes = 4 << 10
	stream, err := r.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	config := stream.CachedInfo().Config
	small := config
	small.MaxBytes, small.Discard = bytes, jetstream.DiscardNew
	if _, err := r.js.UpdateStream(ctx, small); err != nil {
		return fmt.Errorf("make %s small: %w", name, err)
	}
	err = f()
	_, restored := r.js.UpdateStream(context.WithoutCancel(ctx), config)
	return errors.Join(err, restored)
}

// loseMarkers takes the markers of all lanes away, as a Redis that is restarted empty does.
func loseMarkers(ctx context.Context, r *run, _ *rand.Rand, f *fault) error {
	f.Target = "redis"
	return r.redis.client.Del(ctx, markers).Err()
}

// hangHandlers leaves requests to handlers without an answer, for longer than a handler has.
func hangHandlers(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = "all handlers"
	r.service.hanging.Store(true)
	defer r.service.hanging.Store(false)
	return program.Pause(ctx, between(draw, time.Second, 4*time.Second))
}

// stopHandlers leaves nobody who could handle a message.
func stopHandlers(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = "all handlers"
	if err := r.service.stop(); err != nil {
		return err
	}
	err := program.Pause(ctx, hold(draw))
	return errors.Join(err, r.service.start())
}

// poison publishes a message that kills every worker that hands it to its handler, and waits until it is a dead letter.
func poison(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	m := &message{behaviour: kills, kind: check, community: fmt.Sprintf("open_%d", draw.IntN(openCommunities))}
	m.complete(fmt.Sprintf("%d-%d-%s", r.o.seed, draw.Uint32(), kills))
	f.Target = m.ID // until it is known what has become of it
	dead, err := r.direct.SubscribeSync("deadletter.>")
	if err != nil {
		return err
	}
	defer func() { _ = dead.Unsubscribe() }() // its messages are not awaited any more
	if err := r.load.publish(ctx, m); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, poisonWithin)
	defer cancel()
	for {
		msg, err := dead.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil // the audit says what has become of it
		case err != nil:
			return err
		case eventID(msg.Data) == m.ID:
			f.Target = reasonOf(msg)
			return nil
		}
	}
}

// poisonWithin is how long a message that kills its workers may take to become a dead letter.
const poisonWithin = time.Minute

// reasonOf is the last part of a dead letter's subject.
func reasonOf(m *nats.Msg) string { return m.Subject[strings.LastIndexByte(m.Subject, '.')+1:] }

// leader is the nats-server that leads COMMANDS.
func (r *run) leader(ctx context.Context) (*program.NATS, error) {
	stream, err := r.js.Stream(ctx, "COMMANDS")
	if err != nil {
		return nil, err
	}
	if cluster := stream.CachedInfo().Cluster; cluster != nil {
		for _, n := range r.nodes {
			if n.Name == cluster.Leader {
				return n, nil
			}
		}
	}
	return nil, errors.New("COMMANDS has no leader")
}

func killLeader(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	n, err := r.leader(ctx)
	if err != nil {
		return err
	}
	f.Target = n.Name
	return restart(ctx, n.Process, hold(draw))
}

// stepDownStream lets another server lead a stream.
func stepDownStream(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	f.Target = oneOf(draw, "COMMANDS", "ELIGIBILITY", overflow)
	return r.stepDown(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+f.Target)
}

// stepDownConsumer lets another server lead a consumer.
func stepDownConsumer(ctx context.Context, r *run, draw *rand.Rand, f *fault) error {
	consumer := oneOf(draw, "COMMANDS.command-worker", "ELIGIBILITY.eligibility-worker")
	_, f.Target, _ = strings.Cut(consumer, ".")
	return r.stepDown(ctx, "$JS.API.CONSUMER.LEADER.STEPDOWN."+consumer)
}

func oneOf(draw *rand.Rand, values ...string) string { return values[draw.IntN(len(values))] }

func (r *run) stepDown(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, err := r.direct.RequestWithContext(ctx, subject, nil)
	if err != nil {
		return err
	}
	if strings.Contains(string(reply.Data), `"error"`) {
		return fmt.Errorf("%s: %s", subject, reply.Data)
	}
	return nil
}
