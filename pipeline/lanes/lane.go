package lanes

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"arrakis/pipeline/contract"
)

// Key says whose messages of which kind a lane is for.
type Key struct {
	Kind      contract.Kind
	Community string
}

// field is the key's field in the hash of markers.
func (k Key) field() string { return k.Kind.String() + ":" + k.Community }

func parseField(field string) (k Key, ok bool) {
	kind, community, _ := strings.Cut(field, ":")
	k.Kind, ok = contract.KindOf(kind)
	k.Community = community
	return k, ok && contract.ValidCommunity(community)
}

// shared is the number of the key's lane among those that communities share.
func (k Key) shared() int {
	const count = contract.NumLanes - contract.FirstSharedLane
	return contract.FirstSharedLane + int(xxhash.Sum64String(k.field())%count)
}

// Lane is a lane that a community is in. It is made by [Registry], and used no longer than the community is in it:
// whoever has a Lane from Find and publishes into it calls Enter first, before Release.
type Lane struct {
	Key // read-only

	// Written by the registry, while nobody holds it; read between Hold and Release.
	number  int
	direct  bool
	closing bool
	subject string
	changed bool      // by SetDirect, since the last Poll began to read the markers
	again   time.Time // when it was last opened again

	parts *parts       // of OVERFLOW; read-only
	since time.Time    // when this process has learned of the lane; read-only
	tries backoff      // of this process, to close it; owned by Poll
	onWay atomic.Int64 // messages between Enter and Left
}

// Subject is where the lane's messages are stored.
func (l *Lane) Subject() string { return l.subject }

// Direct reports whether messages may be published into the lane that were not admitted yet: the community is unlimited.
// Otherwise rejections would wait in the lane.
func (l *Lane) Direct() bool { return l.direct }

// Closing reports whether the lane is about to be left, if it is empty. Until that is known, a moment later, messages of
// the community must go nowhere: see [Options.Decided].
func (l *Lane) Closing() bool { return l.closing }

// Enter counts n messages as on their way into the lane. While there are any, the community does not leave it. Call it
// between Hold and Release, not if the lane is closing, and then Left for each message once it is stored, or is not going
// to be.
func (l *Lane) Enter(n int) { l.onWay.Add(int64(n)) }

// Left ends what Enter has begun for n messages. It may be called at any time.
func (l *Lane) Left(n int) { l.onWay.Add(-int64(n)) }

// set gives the lane the number of a marker. The registry must be locked.
func (l *Lane) set(m marker) {
	if l.subject == "" || l.number != m.Lane {
		l.number, l.subject = m.Lane, contract.LaneSubject(l.Kind, l.Community, m.Lane)
	}
	l.direct = m.Direct
}
