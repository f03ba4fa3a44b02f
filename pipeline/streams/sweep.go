package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

const (
	// searchEvery is the least time between two searches that find nothing. A search makes the server list subjects.
	searchEvery = time.Minute
	// maxSubjects is how many subjects a stream may have for a search: more would be a large answer, and no contract
	// needs them. They are looked at when there are fewer.
	maxSubjects = 100_000
	// maxSwept and sweepTime bound the sweeps of one look at a stream, which begin no other message after that. The next
	// look goes on. The sweeps of all streams end before another process has its turn.
	maxSwept  = 1_000
	sweepTime = 800 * time.Millisecond
	// sweepTimeout bounds what one sweep asks of JetStream, which does not answer a user who may not delete.
	sweepTimeout = 2 * time.Second
)

// shouldSearch says whether the stream may hold messages that nobody reads, other than for a moment. all are the filters
// of all its consumers; found is how many messages seem to have been dropped.
func (k *Keeper) shouldSearch(s *sample, all []string, before *tally, found int64) bool {
	if s.stream.Config.Name == contract.StreamOverflow || !before.Stream.Equal(s.stream.Created) {
		return false // the first look is where the count begins
	}
	if len(all) == 0 || s.stream.State.NumSubjects > maxSubjects || len(unread(s.stream.Config.Subjects, all)) == 0 {
		return false // the usual case, but for ELIGIBILITY: its subjects are more than those of its consumers
	}
	recently := s.stream.TimeStamp.Sub(before.Searched) < searchEvery
	if s.workQueue() {
		// Messages on their way can look like strays, but not for long.
		return !recently && min(before.Strays, s.strays()) > 0
	}
	// Here what nobody reads cannot be told from what was handled, but by its subject.
	return found > 0 || !recently && before.Last != s.stream.State.LastSeq
}

// budget bounds the sweeps of one look.
type budget struct {
	left  int // dead letters
	until time.Time
}

func (b *budget) spent() bool { return b.left <= 0 || !time.Now().Before(b.until) }

const strayCause = "no worker reads messages on the subject"

// sweepStrays makes dead letters of the messages that no consumer reads, and returns how many, and whether it has come
// to the end of them.
//
// A stream that keeps messages for no consumer on purpose, as one with scheduled messages does, must not be swept. No
// route has such a stream.
func (k *Keeper) sweepStrays(ctx context.Context, f *finding) (swept int, ended bool) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	before, ended := f.budget.left, true
	var err error
	for _, pattern := range unread(f.sample.stream.Config.Subjects, f.all) {
		if ended, err = k.sweepPattern(ctx, f, pattern); !ended {
			break
		}
	}
	swept = before - f.budget.left
	k.tell(ctx, f.stream, strayCause, swept, err)
	return swept, ended
}

// sweepPattern makes dead letters of the messages on subjects below a pattern that no consumer reads, and reports
// whether none is left. It ends at an error: the message would be the next one again.
func (k *Keeper) sweepPattern(ctx context.Context, f *finding, pattern string) (ended bool, err error) {
	handle, err := k.o.JetStream.Stream(ctx, f.stream)
	if err != nil {
		return false, err
	}
	info, err := handle.Info(ctx, jetstream.WithSubjectFilter(pattern))
	if err != nil {
		return false, fmt.Errorf("look for subjects below %s: %w", pattern, err)
	}
	for _, subject := range slices.Sorted(maps.Keys(info.State.Subjects)) { // in order: who fails is the next again
		for !coveredBy(f.all, subject) {
			m, err := Read(ctx, k.o.JetStream, f.stream, 1, subject)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil || f.budget.spent() {
				return false, err
			}
			if err := k.bury(ctx, f, pattern, m, strayCause+" "+subject, true); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// letter is a message whose dead letter is stored. The time tells it from one of an earlier stream.
type letter struct {
	seq    uint64
	stored int64 // unix ns
}

// bury makes a dead letter of a message that no worker gets. The dead letter is stored first, under an ID made of the
// message's sequence, and then the message is deleted. So several processes may do it, and one that dies in between
// loses nothing. who names the messages of which this one is the next: while it cannot be deleted, it gets no second
// dead letter. count says that no consumer has it, so that it would count as dropped.
func (k *Keeper) bury(ctx context.Context, f *finding, who string, m *jetstream.RawStreamMsg, cause string, count bool) error {
	key, now := f.stream+" "+who, letter{m.Sequence, m.Time.UnixNano()}
	if k.letters[key] != now {
		if err := k.o.DeadLetter(ctx, f.stream, m, cause); err != nil {
			return fmt.Errorf("store a dead letter of message %d: %w", m.Sequence, err)
		}
		if count { // before it is deleted: the count of dropped messages may be too low, but not too high
			if err := k.o.Records.add(ctx, f.stream, fieldSwept, 1); err != nil {
				return err
			}
		}
		k.letters[key] = now
	}
	if err := k.remove(ctx, f.stream, m.Sequence); err != nil {
		return fmt.Errorf("delete message %d, whose dead letter is stored: %w", m.Sequence, err)
	}
	delete(k.letters, key)
	f.budget.left--
	return nil
}

// remove deletes a message. It succeeds if another process was faster.
func (k *Keeper) remove(ctx context.Context, stream string, seq uint64) error {
	handle, err := k.o.JetStream.Stream(ctx, stream)
	if err != nil {
		return err
	}
	if err = handle.DeleteMsg(ctx, seq); err == nil {
		return nil
	}
	if _, gone := Read(ctx, k.o.JetStream, stream, seq, ""); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}

// tell logs what a sweep has done, and why it failed.
func (k *Keeper) tell(ctx context.Context, stream, cause string, swept int, err error) {
	if swept > 0 && k.mayWarn(stream+" "+cause) {
		k.o.Logger.WarnContext(ctx, "messages that no worker gets became dead letters",
			"stream", stream, "messages", swept, "cause", cause)
	}
	if err != nil && !errors.Is(err, context.Canceled) && k.mayWarn(stream+" "+cause+" err") {
		k.o.Logger.WarnContext(ctx, "messages that no worker gets stay in the stream: they cannot become dead letters",
			"stream", stream, "cause", cause, "err", err, "hint", "does the stream allow deletes (no deny_delete), and may the NATS "+
				"user read and delete messages ($JS.API.STREAM.MSG.GET.>, $JS.API.STREAM.MSG.DELETE.>)?")
	}
}

// mayWarn reports whether a warning may be logged now: each at most once in searchEvery.
func (k *Keeper) mayWarn(key string) bool {
	now := time.Now()
	if now.Sub(k.warned[key]) <= searchEvery {
		return false
	}
	k.warned[key] = now
	return true
}
