package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
	"arrakis/tenant/store"
)

// deadLetterSelection is what a replay or a purge is for: dead letters by their numbers, or all that a filter selects.
type deadLetterSelection struct {
	Seqs []string `arg:"" optional:"" name:"seq" help:"Numbers of dead letters, as the list shows them."`
	deadLetterFilter
	Yes bool `help:"Do it. Without this flag the dead letters are only counted, and the exit code is 2.${yes_note}"`
	natsFlags
	redisSettings
}

// recordTimeout bounds the entry of the audit log that is added after a change.
const recordTimeout = 5 * time.Second

// record adds a run to the audit log, which is in Redis, also if the run was interrupted. What was done stays done if Redis
// does not answer.
func (s *deadLetterSelection) record(ctx context.Context, p process, run deadletter.Bulk, part deadletter.Part) {
	entry, ok := view.BulkAudit(run, part)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	redis := storeFlags{redisSettings: s.redisSettings}
	if err := redis.withStore(ctx, func(tenants *store.Store) error { return tenants.Record(ctx, entry) }); err != nil {
		_, _ = fmt.Fprintf(p.stderr, "arrakis: warning: this is not in the audit log: %v\n", err)
	}
}

// run is the run over the selection.
func (s *deadLetterSelection) run(action deadletter.Action) (deadletter.Bulk, error) {
	filter, err := s.filter()
	if err != nil {
		return deadletter.Bulk{}, usageError{err}
	}
	run, errs := deadletter.Bulk{Action: action, Filter: filter, Seqs: make([]uint64, len(s.Seqs))}, make([]error, len(s.Seqs))
	for i, text := range s.Seqs {
		run.Seqs[i], errs[i] = view.ParseSeq(text)
	}
	if err := errors.Join(errs...); err != nil {
		return run, usageError{err}
	}
	if len(s.Seqs) > 0 && filter != (deadletter.Filter{}) {
		return run, usageError{errors.New("dead letters are selected either by their numbers or by flags: leave one out")}
	}
	return run, nil
}

// confirmed refuses a run without --yes, and says how many dead letters it would be for.
func (s *deadLetterSelection) confirmed(ctx context.Context, store *deadletter.Store, run deadletter.Bulk, verb string) error {
	if s.Yes {
		return nil
	}
	n := uint64(len(run.Seqs))
	if n == 0 {
		var err error
		if n, err = store.Count(ctx, run.Filter); err != nil {
			return err
		}
	}
	return usageError{fmt.Errorf("this would %s %s: add --yes to do it", verb, howMany(n, run.Filter))}
}

type dlqReplayCmd struct {
	deadLetterSelection
	All bool `help:"Replay all dead letters, where no other flag selects some."`
}

func (*dlqReplayCmd) Help() string {
	return `Each message is published to its original subject and handled like any other: if it fails again, it becomes a new dead letter. ` +
		`No reply is sent, because the sender has stopped waiting. If one of several cannot be replayed, the others still are. ` +
		`Flags select the dead letters that there are when the command begins, from the oldest on. ` +
		`What was replayed is in the audit log, which is in Redis. ` +
		`A command that was interrupted may be repeated, and several may run at the same time: no message is replayed twice.`
}

func (c *dlqReplayCmd) Run(ctx context.Context, p process) error {
	run, err := c.run(deadletter.ActionReplay)
	if err != nil {
		return err
	}
	filtered := run.Filter != (deadletter.Filter{})
	switch {
	case c.All && (filtered || len(run.Seqs) > 0):
		return usageError{errors.New("--all is for all dead letters: leave it out to replay some")}
	case !c.All && !filtered && len(run.Seqs) == 0:
		return usageError{errors.New("expected numbers of dead letters, or --stream, --reason, --community or --all")}
	}
	if len(run.Seqs) > 0 {
		return c.replayNamed(ctx, p, run)
	}
	return c.withDeadLetters(func(store *deadletter.Store) error {
		if err := c.confirmed(ctx, store, run, "replay"); err != nil {
			return err
		}
		done, err := c.runAll(ctx, p, store, run)
		printed := c.print(p.stdout, done, func(t *table) {
			t.row("replayed " + howMany(done.Done, run.Filter))
			if done.Gone > 0 {
				t.row("replayed or purged by others meanwhile: " + strconv.FormatUint(done.Gone, 10))
			}
		})
		return errors.Join(done.failed(), err, printed)
	})
}

func (c *dlqReplayCmd) replayNamed(ctx context.Context, p process, run deadletter.Bulk) error {
	var failed error
	err := c.withDeadLetters(func(store *deadletter.Store) error {
		var replayed []deadletter.Replayed
		replayed, failed = replayAll(ctx, store, run.Seqs)
		run.Seqs = nil
		for _, r := range replayed {
			run.Seqs = append(run.Seqs, r.Seq)
		}
		c.record(ctx, p, run, deadletter.Part{Done: len(replayed)})
		return c.print(p.stdout, map[string]any{"replayed": replayed}, func(t *table) {
			for _, r := range replayed {
				what := fmt.Sprintf("replayed %d to %s: it is message %d of %s", r.Seq, r.Subject, r.Sequence, r.Stream)
				if r.Duplicate {
					what += " since an earlier replay"
				}
				t.row(what)
			}
		})
	})
	return errors.Join(failed, err)
}

// replayAll continues after a dead letter that is gone or cannot be replayed. It stops at any other error, because the
// next dead letter would fail too.
func replayAll(ctx context.Context, store *deadletter.Store, seqs []uint64) ([]deadletter.Replayed, error) {
	replayed, errs := []deadletter.Replayed{}, []error{}
	for _, seq := range seqs {
		done, err := store.Replay(ctx, seq)
		if err == nil {
			replayed = append(replayed, done)
			continue
		}
		errs = append(errs, streams.Explain(deadLetterError(err)))
		var refused *deadletter.RefusedError
		if !errors.Is(err, deadletter.ErrNotFound) && !errors.Is(err, deadletter.ErrUncertain) && !errors.As(err, &refused) {
			break
		}
	}
	return replayed, errors.Join(errs...)
}

// bulkTotal is what all parts of a run have done.
type bulkTotal struct {
	Done     uint64               `json:"done"`
	Gone     uint64               `json:"gone"`
	Failed   uint64               `json:"failed"`
	Failures []deadletter.Failure `json:"failures,omitempty"` // the first maxFailures of them
}

// maxFailures is how many failures of a run are named.
const maxFailures = 20

// failed names the dead letters that could not be replayed.
func (b *bulkTotal) failed() error {
	var errs []error
	for _, f := range b.Failures {
		errs = append(errs, errors.New(f.Error)) //nolint:err113 // as the store has put it
	}
	if more := b.Failed - uint64(len(b.Failures)); more > 0 {
		errs = append(errs, fmt.Errorf("and %d more: `arrakis dlq list` shows them", more))
	}
	return errors.Join(errs...)
}

// runAll makes a run, part by part. It returns what was done also beside an error.
func (s *deadLetterSelection) runAll(ctx context.Context, p process, store *deadletter.Store, run deadletter.Bulk) (total bulkTotal, err error) {
	for said := time.Now(); ; {
		part, err := store.Run(ctx, run)
		if err != nil {
			return total, fmt.Errorf("after %d dead letters: %w; the same command goes on with the rest", total.Done, err)
		}
		s.record(ctx, p, run, part)
		total.Done += uint64(part.Done) //nolint:gosec // a count
		total.Gone += uint64(part.Gone) //nolint:gosec // a count
		total.Failed += uint64(len(part.Failed))
		total.Failures = append(total.Failures, part.Failed...)
		total.Failures = total.Failures[:min(len(total.Failures), maxFailures)]
		if run.Cursor = part.Next; part.Next == "" {
			return total, nil
		}
		if time.Since(said) > progressEvery {
			said = time.Now()
			_, _ = fmt.Fprintf(p.stderr, "arrakis: %d %%, %d done\n", int(100*part.Progress), total.Done)
		}
	}
}

type dlqPurgeCmd struct{ deadLetterSelection }

func (*dlqPurgeCmd) Help() string {
	return `Without numbers and without --stream, --reason and --community all dead letters are deleted. ` +
		`Messages that become dead letters while the command runs are kept.`
}

func (c *dlqPurgeCmd) Run(ctx context.Context, p process) error {
	run, err := c.run(deadletter.ActionPurge)
	if err != nil {
		return err
	}
	if err := run.Validate(); err != nil {
		return usageError{err}
	}
	return c.withDeadLetters(func(store *deadletter.Store) error {
		if err := c.confirmed(ctx, store, run, "delete"); err != nil {
			return err
		}
		done, err := c.runAll(ctx, p, store, run)
		printed := c.print(p.stdout, map[string]uint64{"purged": done.Done, "gone": done.Gone}, func(t *table) {
			t.row("deleted " + howMany(done.Done, run.Filter))
			if done.Gone > 0 {
				t.row("gone already: " + strconv.FormatUint(done.Gone, 10))
			}
		})
		return errors.Join(err, printed)
	})
}
