package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// intakeBytes bounds the bytes of the messages in this process that are decoded and have not ended, over all sources.
	// A usual command has 420 bytes; with such messages a source reaches its number long before.
	intakeBytes = 256 << 20
	// intakeShare is the part of these bytes that a source may have whatever the others have, 1/intakeShare.
	intakeShare = 64
	// laneBytes bounds the bytes of a lane's messages in this process. Its backlog is to wait in the stream.
	laneBytes = 32 << 20
	// intakePatience is how long a source waits for room before it stops pulling.
	intakePatience = time.Second
)

// load is a number of messages and their bytes, headers included.
type load struct {
	messages int
	bytes    int64
}

// intake bounds what is in the process, from decode to its end. It is the only bound on what waits for handlers: none of
// the stages behind it waits for them. A source may take in the messages that have arrived while it has fewer than its
// bound, and fewer bytes than are free (a dynamic threshold, as in turns.go). So one that its handlers cannot keep up
// with gets half of the bytes, and there is always room for the others.
//
// A source without room first waits, and messages wait in its mailbox and in the NATS library. Nothing tells JetStream
// that these are in progress. So after a short time the source stops pulling, and takes in what is on its way without
// room: whatever waits for handlers waits in the fair queue, which tells. The source pulls again when there is room.
type intake struct {
	bytes int64 // bound over all sources; set before the sources run, read-only

	mu       sync.Mutex           // protects the fields below, and held of each source
	held     int64                // bytes of all sources
	messages int                  // of all sources
	taken    uint64               // messages so far
	waiting  map[*source]struct{} // those that wait for room
}

func newIntake() *intake { return &intake{bytes: intakeBytes, waiting: make(map[*source]struct{})} }

// enter counts a batch of s. It waits until s has room, but not for longer than the intake's patience: then s stops
// pulling, and has room until it pulls again. One goroutine of a source calls it.
func (in *intake) enter(work context.Context, s *source, batch load) {
	if !s.paused.Load() && !in.room(s) {
		patience, cancel := context.WithTimeout(work, min(intakePatience, time.Duration(s.ackWait.Load())/6))
		if !in.wait(patience, s) {
			s.pause()
		}
		cancel()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	s.held.messages += batch.messages
	s.held.bytes += batch.bytes
	in.held += batch.bytes
	in.messages += batch.messages
	in.taken += uint64(batch.messages) //nolint:gosec // at least 0
}

// wait waits until s has room. It returns false if ctx ends before.
func (in *intake) wait(ctx context.Context, s *source) bool {
	defer func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.waiting, s)
	}()
	for {
		in.mu.Lock()
		in.waiting[s] = struct{}{}
		room := in.roomLocked(s)
		in.mu.Unlock()
		if room {
			return true
		}
		select {
		case <-s.freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (in *intake) room(s *source) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.roomLocked(s)
}

// roomLocked reports whether s may take in more. The caller must hold in.mu.
func (in *intake) roomLocked(s *source) bool {
	free := max(in.bytes-in.held, in.bytes/intakeShare)
	return s.held.messages < s.most.messages && s.held.bytes < min(s.most.bytes, free)
}

// leave counts messages of s that have ended. Any goroutine may call it.
func (in *intake) leave(s *source, ended load) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s.held.messages -= ended.messages
	s.held.bytes -= ended.bytes
	in.held -= ended.bytes
	in.messages -= ended.messages
	for waiting := range in.waiting {
		select {
		case waiting.freed <- struct{}{}:
		default:
		}
	}
}

// total is how many bytes are in the process, for the metrics.
func (in *intake) total() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.held
}

// arrival is a message that has arrived and is not decoded yet.
type arrival struct {
	jetstream.Msg
	size uint32 // in bytes, headers included; NATS carries 64 MiB at most
}

func newArrival(m jetstream.Msg) arrival {
	size := len(m.Data())
	for name, values := range m.Headers() {
		size += len(name)
		for _, v := range values {
			size += len(v)
		}
	}
	return arrival{m, uint32(size)} //nolint:gosec // NATS carries 64 MiB at most
}

// loadOf is the load of a batch that has arrived.
func loadOf(batch []arrival) load {
	l := load{messages: len(batch)}
	for i := range batch {
		l.bytes += int64(batch[i].size)
	}
	return l
}
