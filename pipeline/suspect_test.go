package pipeline

import (
	"testing"
	"time"
)

// A suspect whose handler never returns must not keep the other suspects waiting for ever.
func TestSuspectPlace(t *testing.T) {
	p := suspectPlace{lasts: time.Minute}
	var deaf, next, third delivery
	now := time.Now()
	takes := func(what string, d *delivery, at time.Time, want bool) {
		t.Helper()
		if got := p.take(d, at); got != want {
			t.Errorf("%s: %t, want %t", what, got, want)
		}
	}
	takes("the first", &deaf, now, true)
	takes("another", &next, now.Add(59*time.Second), false)
	takes("another, when the first is deaf", &next, now.Add(time.Minute), true)
	p.leave(&deaf) // after all
	takes("a third", &third, now.Add(time.Minute), false)
	p.leave(&next)
	takes("a third, when the place is free", &third, now.Add(time.Minute), true)
}
