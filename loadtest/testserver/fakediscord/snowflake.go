package fakediscord

import (
	"strconv"
	"sync/atomic"
	"time"
)

// epoch is the start of Discord's time, in unix milliseconds.
const epoch = 1_420_070_400_000

// sequence tells IDs of the same millisecond apart. IDs are unique in this process.
var sequence atomic.Uint64

// NewID returns an ID, a snowflake, that was created now.
func NewID() string { return NewIDAt(time.Now()) }

// NewIDAt returns an ID that was created at the given time, which is cut to milliseconds.
func NewIDAt(at time.Time) string {
	return strconv.FormatUint(uint64(at.UnixMilli()-epoch)<<22|sequence.Add(1)%(1<<22), 10)
}
