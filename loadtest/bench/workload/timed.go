package workload

import (
	"fmt"
	"strings"
	"time"
)

// The commands of timed messages.
const (
	Quiet     = "quiet"     // is handled at once
	Slow      = "slow"      // takes SlowTime
	Failing   = "failing"   // fails at once, each time
	Panicking = "panicking" // panics
)

// SlowTime is how long the handler of Slow runs.
const SlowTime = 50 * time.Millisecond

// Options are those of a timed message.
type Options struct {
	Due int64 `json:"due"` // when the message was to be published, unix µs
}

// Timed is message number n of a run for community i, for a command, with the moment (unix µs) at which it is to be
// published, filled up to size bytes.
func Timed(run uint32, n, i int, command string, due int64, size int) []byte {
	var b strings.Builder
	b.Grow(size)
	fmt.Fprintf(&b, beforeEvent+"%s"+beforeCommunity+"%s"+`","channel_id":"700000000000000002","user_id":"700000000000000003",`+
		`"data":{"interaction_id":"700000000000000010","command_name":"%s","options":{"due":%d,"note":"`,
		EventID(run, n), ID(i), command, due)
	for b.Len() < size-len(end) {
		b.WriteString(padding[:min(len(padding), size-len(end)-b.Len())])
	}
	b.WriteString(end)
	return []byte(b.String())
}
