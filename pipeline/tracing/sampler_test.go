package tracing

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseSampler(t *testing.T) {
	for _, tt := range []struct {
		name, arg                   string
		flagged, unflagged, without bool // what is recorded: with a sampled parent, an unsampled one, without any
	}{
		{"", "", true, false, true},
		{"parentbased_always_on", "", true, false, true},
		{"Parentbased_Always_Off", "", true, false, false},
		{"always_on", "", true, true, true},
		{"always_off", "", false, false, false},
		{"traceidratio", "", true, true, true},
		{"traceidratio", "0", false, false, false},
		{"parentbased_traceidratio", "0", true, false, false},
		{"parentbased_traceidratio", "1", true, false, true},
	} {
		s, err := ParseSampler(tt.name, tt.arg)
		if err != nil {
			t.Errorf("%s %s: %v", tt.name, tt.arg, err)
		}
		if got := [3]bool{s.byParent(sampled, "e"), s.byParent(silent, "e"), s.byID("e")}; got != [3]bool{tt.flagged, tt.unflagged, tt.without} {
			t.Errorf("%s %s: %v", tt.name, tt.arg, got)
		}
	}
	for _, tt := range [][2]string{
		{"on", ""}, {"parentbased_", ""}, {"jaeger_remote", ""}, {"traceidratio", "2"}, {"traceidratio", "-0.1"}, {"traceidratio", "NaN"}, {"traceidratio", "x"},
	} {
		if _, err := ParseSampler(tt[0], tt[1]); err == nil {
			t.Errorf("%v: no error", tt)
		}
	}
}

// A ratio takes its share, always the same messages.
func TestRatio(t *testing.T) {
	s, err := ParseSampler("traceidratio", "0.25")
	if err != nil {
		t.Fatal(err)
	}
	const all = 20_000
	n := 0
	for i := range all {
		id := fmt.Sprintf("event-%d", i)
		if s.byID(id) {
			n++
		}
		if other := s; other.byID(id) != s.byID(id) {
			t.Fatal("two processes disagree about a message")
		}
	}
	if n < all/4-all/50 || n > all/4+all/50 {
		t.Errorf("%d of %d", n, all)
	}
}

// So many a second on average, and that many at once.
func TestRate(t *testing.T) {
	start := time.Now().Add(time.Hour)
	for _, perSecond := range []int{1, 3, 100} {
		r := newRate(perSecond)
		var taken []time.Duration
		for at := time.Duration(0); at < 5*time.Second; at += time.Millisecond {
			for range 2 {
				if r.allow(start.Add(at)) {
					taken = append(taken, at)
				}
			}
		}
		if n := len(taken); n < 5*perSecond || n > 6*perSecond {
			t.Errorf("%d a second: %d in 5 s", perSecond, n)
		}
		burst := 0
		r = newRate(perSecond)
		for r.allow(start) {
			burst++
		}
		if burst != perSecond {
			t.Errorf("%d a second: %d at once", perSecond, burst)
		}
	}
	r := newRate(50)
	var n atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1_000 {
				if r.allow(start) {
					n.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n.Load() != 50 {
		t.Errorf("8 at the same time: %d, want 50", n.Load())
	}
}
