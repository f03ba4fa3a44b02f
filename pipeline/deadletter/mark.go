package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// mark says that a replay of a dead letter has begun. It is a message in DEADLETTER, on a subject of its own, which
// only the first replay of the dead letter can store.
type mark struct {
	first  bool             // no replay has begun before
	origin jetstream.Stream // where the message is stored
	after  uint64           // the sequence in origin after which earlier replays have stored the message, if they have
}

// replayOf identifies the replays of a dead letter: <sequence>:<stored, unix ns>. The time tells it from a dead letter
// with the same sequence in an earlier stream DEADLETTER. The replayed message carries it as Arrakis-Replay.
func replayOf(stored *jetstream.RawStreamMsg) string {
	return fmt.Sprintf("%d:%d", stored.Sequence, stored.Time.UnixNano())
}

// IsReplay reports whether the header Arrakis-Replay of a message can be that of a replay. Anybody may have made it up.
func IsReplay(header string) bool {
	_, ok := parseReplay(header)
	return ok
}

// parseReplay returns the sequence of the dead letter in replay, which is as replayOf has made it.
func parseReplay(replay string) (seq uint64, ok bool) {
	first, second, _ := strings.Cut(replay, ":")
	seq, err1 := strconv.ParseUint(first, 10, 64)
	_, err2 := strconv.ParseUint(second, 10, 63)
	return seq, err1 == nil && err2 == nil
}

// markSubject has one token more than the subjects of dead letters, so that no list of dead letters shows marks.
func markSubject(replay string) string {
	return "deadletter.replay." + strings.Replace(replay, ":", ".", 1)
}

// mark stores the mark of a replay, or reads the mark of the first one.
func (s *Store) mark(ctx context.Context, replay, stream string) (mark, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	origin, err := s.js.Stream(limited, stream)
	if err != nil {
		return mark{}, err
	}
	m := mark{first: true, origin: origin, after: origin.CachedInfo().State.LastSeq}
	data := strconv.AppendUint(nil, m.after, 10)
	_, err = s.publish(ctx, &nats.Msg{Subject: markSubject(replay), Data: data},
		jetstream.WithExpectStream(contract.StreamDeadLetter), jetstream.WithExpectLastSequencePerSubject(0))
	if !wrongLastSequence(err) {
		return m, err
	}
	letters, err := s.stream(ctx)
	if err != nil {
		return mark{}, err
	}
	earlier, err := s.message(ctx, letters, 1, markSubject(replay))
	if err != nil {
		return mark{}, err // another replay has ended in this moment, and a repetition finds no dead letter
	}
	m.first, m.after = false, 0
	if origin.CachedInfo().Created.Before(earlier.Time) { // else the stream counts anew since
		m.after, _ = strconv.ParseUint(string(earlier.Data), 10, 64) // 0, the whole stream, is right in any case
	}
	return m, nil
}

func wrongLastSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// unmark deletes a mark, when its dead letter is gone. A mark that stays does no harm, and expires.
func unmark(ctx context.Context, letters jetstream.Stream, replay string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_ = letters.Purge(ctx, jetstream.WithPurgeSubject(markSubject(replay)))
}

// maxSearched is how many messages find looks at.
const maxSearched = 10_000

// ErrUncertain means that an earlier replay of the dead letter was interrupted, and that its message is not found in its
// stream, where too many wait to look at each.
var ErrUncertain = errors.New("whether the message was stored by a replay that was interrupted is not known")

// find looks for the message of a replay in its stream, after a sequence. It returns 0 if the message is not there. It
// makes one request for each message on the subject, and gives up after maxSearched.
func (s *Store) find(ctx context.Context, origin jetstream.Stream, subject, replay string, after uint64) (uint64, error) {
	next := after + 1
	for range maxSearched {
		m, err := s.message(ctx, origin, next, subject)
		if errors.Is(err, ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if m.Header.Get(contract.HeaderReplay) == replay {
			return m.Sequence, nil
		}
		next = m.Sequence + 1
	}
	return 0, fmt.Errorf("%w: it is not among the next %d on %s; try again when the stream has fewer waiting", ErrUncertain, maxSearched, subject)
}

// evicted reports whether a dead letter that is gone has made room for the mark of its replay: it was the oldest of a
// full stream. Then the replay goes on with what it has read, for nobody else has it.
func evicted(ctx context.Context, letters jetstream.Stream, seq uint64) bool {
	const room = 1 << 10 // bytes; more than a mark takes
	info, err := letters.Info(ctx)
	if err != nil {
		return false
	}
	c, is := info.Config, info.State
	full := c.MaxBytes > 0 && is.Bytes+room > uint64(c.MaxBytes) || c.MaxMsgs > 0 && is.Msgs >= uint64(c.MaxMsgs)
	return full && is.FirstSeq > seq
}

// EndReplay deletes the dead letter of a replayed message, if it is still there because the replay was interrupted.
// Workers call it before they settle the message, also if they have stored it again elsewhere. replay is the message's
// header Arrakis-Replay, and body its body: a message that claims to be a replay without being one deletes nothing.
func (s *Store) EndReplay(ctx context.Context, replay string, body []byte) error {
	seq, ok := parseReplay(replay)
	if !ok {
		return nil // no replay of ours
	}
	letters, stored, err := s.get(ctx, seq)
	if errors.Is(err, ErrNotFound) || err == nil && (replayOf(stored) != replay || !bytes.Equal(stored.Data, body)) {
		return nil
	}
	if err == nil {
		err = s.remove(ctx, letters, seq)
	}
	if err != nil {
		return fmt.Errorf("delete the replayed dead letter %d: %w", seq, err)
	}
	unmark(ctx, letters, replay)
	return nil
}
