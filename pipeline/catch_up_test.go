package pipeline

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/pipeline/lanes"
)

// Decode waits for handlers that are fast, and never for long, while many communities have about as many messages as
// each other. It does not wait if that could keep others' messages in JetStream.
func TestCatchUp(t *testing.T) {
	const communities, each, workers = 20, 60, 8 // more than enough messages
	for _, test := range []struct {
		name  string
		each  int
		flood int           // messages of one more community
		took  time.Duration // by a handler
		lane  bool
		drain time.Duration // after which all messages are done; 0: none is
		want  time.Duration
	}{
		{name: "many messages", each: each, want: catchUpTime},
		{name: "done meanwhile", each: each, drain: 5 * time.Millisecond, want: 5 * time.Millisecond},
		{name: "few messages", each: (enough + workers) / communities},
		{name: "one community has more than its share", each: each, flood: communities * each / 8},
		{name: "handlers are slow", each: each, took: 10 * time.Millisecond},
		{name: "a lane", each: each, lane: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newFairQueue(workers, 0), &source{lane: test.lane}
				q.estimate = max(q.estimate, test.took)
				put := func(community string, n int) {
					batch := queuedMany(community, n)
					for _, d := range batch {
						d.source = s
					}
					q.put(batch)
				}
				for i := range communities {
					put(fmt.Sprint("c", i), test.each)
				}
				put("flood", test.flood)
				q.claims(nil, lanes.DueMessages, 1<<20)
				if test.drain > 0 {
					time.AfterFunc(test.drain, func() {
						for d := q.tryNext(); d != nil; d = q.tryNext() {
							q.done(d, 0)
						}
					})
				}
				began := time.Now()
				q.catchUp(t.Context(), s)
				if got := time.Since(began); got < test.want || got > test.want+catchUpPause {
					t.Errorf("it waited for %v, want %v", got, test.want)
				}
			})
		})
	}
}
