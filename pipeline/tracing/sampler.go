package tracing

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Sampler decides which messages are recorded. The zero value is parentbased_always_on: all but those whose sender has
// decided not to record them.
type Sampler struct {
	ignoreParent bool
	limited      bool   // by bound
	bound        uint64 // numbers below it are recorded, of 63 bits
}

// ParseSampler makes a sampler from the values of OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. An empty name is
// parentbased_always_on, an empty argument 1.
func ParseSampler(name, arg string) (Sampler, error) {
	kind, parentBased := strings.CutPrefix(strings.ToLower(strings.TrimSpace(name)), "parentbased_")
	s := Sampler{ignoreParent: !parentBased}
	switch kind {
	case "":
		if parentBased {
			break
		}
		return Sampler{}, nil
	case "always_on":
		return s, nil
	case "always_off":
		s.limited = true
		return s, nil
	case "traceidratio":
		ratio := 1.0
		if arg = strings.TrimSpace(arg); arg != "" {
			var err error
			if ratio, err = strconv.ParseFloat(arg, 64); err != nil || math.IsNaN(ratio) || ratio < 0 || ratio > 1 {
				return s, fmt.Errorf("the ratio is %.64q: expected a number from 0 to 1", arg)
			}
		}
		if ratio < 1 {
			s.limited, s.bound = true, uint64(ratio*(1<<63))
		}
		return s, nil
	}
	return s, errors.New("expected always_on, always_off, traceidratio, or one of these after parentbased_")
}

// byParent reports whether a message is recorded that has a valid traceparent.
func (s *Sampler) byParent(parent, eventID string) bool {
	if !s.ignoreParent {
		return sampledFlag(parent)
	}
	return s.byID(eventID)
}

// byID reports whether a message is recorded for which no traceparent decides. It looks at the event ID, and not at the trace
// ID, which the ingress may have made itself: so the ingress and every worker that gets the message decide alike.
func (s *Sampler) byID(eventID string) bool {
	if !s.limited {
		return true
	}
	return s.bound > 0 && xxhash.Sum64String(eventID)>>1 < s.bound
}

// rate allows so many events a second on average, and that many at once (GCRA, the generic cell rate algorithm). It costs one
// atomic read to say no.
type rate struct {
	every int64        // ns between two events
	start time.Time    // so that a clock that is set does no harm
	next  atomic.Int64 // when the next event is due, in ns since start
}

func newRate(perSecond int) *rate {
	return &rate{every: int64(time.Second) / int64(perSecond), start: time.Now()}
}

func (r *rate) allow(now time.Time) bool {
	at := int64(now.Sub(r.start))
	for {
		next := r.next.Load()
		due := max(next, at)
		if due-at > int64(time.Second)-r.every {
			return false
		}
		if r.next.CompareAndSwap(next, due+r.every) {
			return true
		}
	}
}
