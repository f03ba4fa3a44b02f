package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// searchEvery is the least time between two searches that find nothing. A search makes the server list subjects.
	searchEvery = time.Minute
	// maxSubjects is how many subjects a stream may have for a search: more would be a large answer, and no contract
	// needs them. They are looked at when there are fewer.
	maxSubjects = 100_000
	// maxSwept bounds a sweep, and so does half of the time between two looks: a sweep must end before another process
	// has its turn. The next look goes on.
	maxSwept = 1_000
)

// shouldSearch says whether the stream may hold messages that nobody reads. all are the filters of all its consumers;
// found is how many messages seem to have been dropped.
func (k *Keeper) shouldSearch(s *sample, all []string, before *tally, found int64) bool {
	if !before.Stream.Equal(s.stream.Created) {
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

// sweep makes dead letters of the messages that no consumer reads, and returns how many, and whether it has come to the
// end of them. The dead letter is stored first, under an ID made of the message's sequence, and then the message is
// deleted. So several processes may sweep, and one that dies in between loses nothing.
//
// A stream that keeps messages for no consumer on purpose, as one with scheduled messages does, must not be swept. No
// route has such a stream.
func (k *Keeper) sweep(ctx context.Context, s *sample, all []string) (swept int64, ended bool, err error) {
	name := s.stream.Config.Name
	handle, err := k.o.JetStream.Stream(ctx, name)
	if err != nil {
		return 0, false, err
	}
	defer func() {
		if swept > 0 && k.mayWarn(name, "unread") {
			k.o.Logger.WarnContext(ctx, "messages that nobody reads became dead letters: no consumer has their subject",
				"stream", name, "messages", swept)
		}
	}()
	enough := time.Now().Add(k.o.Interval / 2)
	for _, pattern := range unread(s.stream.Config.Subjects, all) {
		info, err := handle.Info(ctx, jetstream.WithSubjectFilter(pattern))
		if err != nil {
			return swept, false, fmt.Errorf("look for subjects below %s: %w", pattern, err)
		}
		for subject := range info.State.Subjects {
			if coveredBy(all, subject) {
				continue
			}
			for {
				if swept >= maxSwept || time.Now().After(enough) {
					return swept, false, nil
				}
				more, err := k.deadLetter(ctx, name, subject)
				if err != nil {
					return swept, false, fmt.Errorf("make a dead letter of a message on %s: %w", subject, err)
				}
				if !more {
					break
				}
				swept++
			}
		}
	}
	return swept, true, nil
}

// deadLetter makes a dead letter of the first message on a subject. It returns false if there is none.
func (k *Keeper) deadLetter(ctx context.Context, stream, subject string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	m, err := Read(ctx, k.o.JetStream, stream, 1, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := k.o.DeadLetter(ctx, stream, m, "no worker reads messages on the subject "+m.Subject); err != nil {
		return false, err
	}
	// Written down before the message is deleted: the count of dropped messages may be too low, but not too high.
	if err := k.o.Records.add(ctx, stream, fieldSwept, 1); err != nil {
		return false, err
	}
	return true, k.remove(ctx, stream, m.Sequence)
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

// mayWarn reports whether a sweep of a stream, of one kind, may be logged now: at most once in searchEvery.
func (k *Keeper) mayWarn(stream, kind string) bool {
	now, key := time.Now(), stream+" "+kind
	if now.Sub(k.warned[key]) <= searchEvery {
		return false
	}
	k.warned[key] = now
	return true
}
