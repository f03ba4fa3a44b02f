package retry

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Ten processes have looked at an empty RETRY. One fills it, looking as often as it must; then the others, which are
// slow, use what their looks have given them. RETRY drops nothing.
func TestOldLooksLeaveTheLastTenth(t *testing.T) {
	t.Parallel()
	const bound, size = 1 << 30, 4_000
	info := jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxBytes: bound}}
	var processes [10]level
	for i := range processes {
		processes[i].tenths = 9
		processes[i].see(&info)
	}
	use := func(l *level) {
		for l.room >= size {
			l.use(size)
			info.State.Bytes += size
		}
	}
	fast, slow := &processes[0], processes[1:]
	for fast.room >= size {
		use(fast)
		fast.see(&info)
	}
	if info.State.Bytes < bound/10*8 {
		t.Errorf("%d bytes are stored, want nine tenths of %d", info.State.Bytes, bound)
	}
	for i := range slow {
		use(&slow[i])
	}
	if info.State.Bytes > bound {
		t.Errorf("%d bytes are stored, want no more than %d", info.State.Bytes, bound)
	}
}
