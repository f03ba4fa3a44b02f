package retry

import (
	"math"

	"github.com/nats-io/nats.go/jetstream"
)

// roomShare is the part of the room that is used until the next look, 1/roomShare. It is no more than 1/boundShare of the
// bound either: whatever other processes saw before, and have not used yet, is of ten processes a tenth of the bound
// together, which is what RETRY has left.
const roomShare, boundShare = 10, 100

// level is how full RETRY may be for some messages to be stored.
type level struct {
	tenths int64 // of the stream's bounds
	err    error // says that it is full

	full  bool  // a message found no room; there is none until another tenth is free
	left  int64 // bytes, as far as is known
	share int64 // bytes that may be used from one look to the next, however many are left
	room  int64 // those that may still be used until the next look
}

// see stores what a look has found.
func (l *level) see(info *jetstream.StreamInfo) {
	tenths := l.tenths
	if l.full {
		tenths-- // so that it is not full and has room in turns
	}
	l.left, l.share = math.MaxInt64, math.MaxInt64
	if bound := info.Config.MaxBytes; bound > 0 {
		l.share = bound / boundShare
		l.left = bound/10*tenths - int64(info.State.Bytes) //nolint:gosec // far below 9e18
	}
	if bound := info.Config.MaxMsgs; bound > 0 && int64(info.State.Msgs) >= bound/10*tenths { //nolint:gosec // as above
		l.left = 0
	}
	l.room = l.fresh()
	l.full = l.full && l.room <= 0
}

// fresh is the room that a look would give, if it showed what is known.
func (l *level) fresh() int64 { return min(l.left/roomShare, l.share) }

// usedUp reports whether there is no room for so many bytes because it was used since the last look.
func (l *level) usedUp(bytes int64) bool { return l.room < bytes && bytes <= l.fresh() }

func (l *level) use(bytes int64) {
	l.left -= bytes
	l.room -= bytes
}
