package main

import (
	"context"
	"time"
)

// pace calls start for each of the numbers below total at the moment when it is due, at a rate a second, whatever start
// leads to. One that is late is started at once. start must be quick. The error is the cause of ctx's end.
func pace(ctx context.Context, rate, total int, start func(due time.Time)) error {
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond) // more often would cost more than what is started
	defer tick.Stop()
	for n := 0; n < total; {
		for now := time.Now(); n < total; n++ {
			due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
			if due.After(now) {
				break
			}
			start(due)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
