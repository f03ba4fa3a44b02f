package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Admission is one permit that Redis has given.
type Admission struct {
	Key string // of the limit, such as ratelimit:comm_007:command
	ID  string // event ID
	At  int64  // by the audit's clock, ms; a reservation is ahead when it is made
	// Offset is where the append-only file has it.
	Offset int64
	// Released says that the permit was given back later.
	Released bool
	// Reserved says that the permit was reserved for a message that is delayed.
	Reserved bool
}

// reserved begins the members that are reservations.
const reserved = "\x02"

// admission is that of a member of a limit. A reservation's is the mark, the event ID, a space and the place of the message
// in its stream.
func admission(key, member string, a admitted) Admission {
	id, isReservation := strings.CutPrefix(member, reserved)
	if isReservation {
		id, _, _ = strings.Cut(id, " ")
	}
	return Admission{Key: key, ID: id, At: a.at(), Offset: a.offset, Reserved: isReservation}
}

// Step is a step back of the clock of Redis.
type Step struct {
	Offset int64 // in the append-only file, of the first command after the step
	At     int64 // when it was, by the audit's clock, ms
	Back   int64 // ms
}

// ReadLog reads the admissions from an append-only file of Redis. Redis writes there what its scripts have changed, in
// order: an admission is a member that is added to a sorted set below prefix, and its score is the time of admission.
//
// The audit's clock is that of Redis, except that it goes on while the clock of Redis is set back. Otherwise a time
// that Redis has passed twice would hold twice the permits, and rightly so. Forward steps are steps of both. A reservation
// that is ahead when the clock is set back comes so much later.
//
// A command that a crash has cut off ends the file. An error means that the file holds what cannot be understood.
func ReadLog(r io.Reader, prefix string, steps []Step) ([]Admission, error) {
	l := log{prefix: prefix, keys: map[string]map[string]admitted{}}
	in := &reader{in: bufio.NewReaderSize(r, 1<<16)}
	for {
		at := in.offset
		args, err := in.command()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return l.end(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("append-only file at byte %d: %w", at, err)
		}
		for len(steps) > 0 && at >= steps[0].Offset {
			l.stepBack(steps[0])
			steps = steps[1:]
		}
		l.offset = at
		if err := l.apply(args); err != nil {
			return nil, fmt.Errorf("append-only file at byte %d: %w", at, err)
		}
	}
}

// reader reads commands as Redis writes them.
type reader struct {
	in     *bufio.Reader
	offset int64
}

// command returns the next command: *n, and n times $length and the argument. Lines that begin with # are notes.
func (r *reader) command() ([]string, error) {
	n, err := r.number('*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		length, err := r.number('$')
		if err != nil {
			return nil, err
		}
		buf := make([]byte, length+2)
		if _, err := io.ReadFull(r.in, buf); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		r.offset += int64(len(buf))
		args[i] = string(buf[:length])
	}
	return args, nil
}

// number reads a line that is the mark and a number.
func (r *reader) number(mark byte) (int, error) {
	for {
		line, err := r.in.ReadSlice('\n')
		r.offset += int64(len(line))
		if err != nil {
			return 0, err
		}
		if line[0] == '#' {
			continue
		}
		const most = 1 << 29 // what Redis allows
		n, err := strconv.Atoi(string(bytes.TrimRight(line[1:], "\r\n")))
		if line[0] != mark || err != nil || n < 0 || n > most {
			return 0, fmt.Errorf("%q is not a number behind %q", line, mark)
		}
		return n, nil
	}
}

// log is the state of all limits, and the admissions that have left it.
type log struct {
	prefix string
	back   int64 // how far the clock of Redis has been set back so far, ms
	offset int64 // of the command that is being applied
	keys   map[string]map[string]admitted
	past   []Admission
}

// admitted is a member that is in its sorted set.
type admitted struct {
	score  float64
	back   int64 // of the log when it was added
	offset int64 // of the command that added it
}

// at is the time of the admission by the audit's clock.
func (a admitted) at() int64 { return int64(a.score) + a.back }

func (l *log) stepBack(s Step) {
	l.back += s.Back
	for _, members := range l.keys {
		for id, a := range members {
			if strings.HasPrefix(id, reserved) && a.at() > s.At {
				a.back = l.back
				members[id] = a
			}
		}
	}
}

// apply applies one command.
func (l *log) apply(args []string) error {
	if len(args) < 2 {
		return nil // MULTI, EXEC
	}
	name, key := strings.ToUpper(args[0]), args[1]
	switch name {
	case "DEL", "UNLINK":
		// An expired key. It expires after its newest member has left the window.
		for _, key := range args[1:] {
			l.remove(key, func(string, admitted) bool { return true }, false)
		}
		return nil
	case "FLUSHALL", "FLUSHDB", "RENAME", "RESTORE", "ZUNIONSTORE":
		return fmt.Errorf("%s is not expected in a run", name)
	}
	if !strings.HasPrefix(key, l.prefix) {
		return nil
	}
	switch name {
	case "ZADD":
		return l.add(key, args[2:])
	case "ZREM":
		for _, id := range args[2:] {
			l.remove(key, func(member string, _ admitted) bool { return member == id }, true)
		}
	case "ZREMRANGEBYSCORE":
		return l.trim(key, args[2:])
	case "ZREMRANGEBYRANK":
		return l.trimRanks(key, args[2:])
	case "PEXPIREAT", "PEXPIRE", "EXPIRE", "EXPIREAT", "PERSIST":
	default:
		return fmt.Errorf("%s %s is a change of a limit that the audit does not know", name, key)
	}
	return nil
}

// add applies ZADD.
func (l *log) add(key string, args []string) error {
	keep := false // NX: a member that is there keeps its score
	for len(args) > 0 {
		if _, err := strconv.ParseFloat(args[0], 64); err == nil {
			break
		}
		switch strings.ToUpper(args[0]) {
		case "NX":
			keep = true
		case "CH":
		default:
			return fmt.Errorf("ZADD with %s is not known to the audit", args[0])
		}
		args = args[1:]
	}
	members := l.keys[key]
	if members == nil {
		members = map[string]admitted{}
		l.keys[key] = members
	}
	for ; len(args) >= 2; args = args[2:] {
		score, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return fmt.Errorf("score %q of %s: %w", args[0], key, err)
		}
		if old, there := members[args[1]]; there {
			if keep {
				continue
			}
			// It has left the window and was not trimmed yet: both admissions count. So do both of a reservation, which gets
			// another time only when its window has passed: its message may have run at the first one.
			l.past = append(l.past, admission(key, args[1], old))
		}
		members[args[1]] = admitted{score: score, back: l.back, offset: l.offset}
	}
	return nil
}

// trim applies ZREMRANGEBYSCORE from -inf.
func (l *log) trim(key string, args []string) error {
	if len(args) != 2 || args[0] != "-inf" {
		return fmt.Errorf("ZREMRANGEBYSCORE %s %v is not known to the audit", key, args)
	}
	bound, open := strings.CutPrefix(args[1], "(")
	most, err := strconv.ParseFloat(bound, 64)
	if err != nil {
		return fmt.Errorf("ZREMRANGEBYSCORE %s up to %q: %w", key, args[1], err)
	}
	l.remove(key, func(_ string, a admitted) bool { return a.score < most || a.score == most && !open }, false)
	return nil
}

// trimRanks applies ZREMRANGEBYRANK with ranks from 0.
func (l *log) trimRanks(key string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("ZREMRANGEBYRANK %s %v is not known to the audit", key, args)
	}
	from, err := strconv.Atoi(args[0])
	to, err2 := strconv.Atoi(args[1])
	if err := errors.Join(err, err2); err != nil || from < 0 || to < from {
		return fmt.Errorf("ZREMRANGEBYRANK %s %v is not known to the audit", key, args)
	}
	members := l.keys[key]
	ranked := slices.SortedFunc(maps.Keys(members), func(a, b string) int {
		return cmp.Or(cmp.Compare(members[a].score, members[b].score), cmp.Compare(a, b))
	})
	removed := map[string]bool{}
	for _, id := range ranked[min(from, len(ranked)):min(to+1, len(ranked))] {
		removed[id] = true
	}
	l.remove(key, func(id string, _ admitted) bool { return removed[id] }, false)
	return nil
}

// remove moves members to the past.
func (l *log) remove(key string, which func(string, admitted) bool, released bool) {
	for id, a := range l.keys[key] {
		if which(id, a) {
			left := admission(key, id, a)
			left.Released = released
			l.past = append(l.past, left)
			delete(l.keys[key], id)
		}
	}
}

// end returns all admissions.
func (l *log) end() []Admission {
	for key := range l.keys {
		l.remove(key, func(string, admitted) bool { return true }, false)
	}
	return l.past
}
