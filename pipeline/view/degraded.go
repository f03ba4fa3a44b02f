package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
)

const (
	// maxSentences bounds the sentences of a Fleet.
	maxSentences = 20
	// nearlyFull is the part of its bound, in percent, at which a stream that refuses messages is said to be full soon.
	nearlyFull = 90
)

// degraded says what does not work as it should, the worst first.
func degraded(s *fleet.State, f *Fleet) []string {
	list := append([]string{}, s.Faults...)
	if f.Totals.Workers == 0 && !s.More {
		list = append(list, "no worker runs: nothing is handled")
	}
	list = append(list, troubles(s.Workers)...)
	if s.More {
		list = append(list, fmt.Sprintf("there are more than %d workers: the others are not shown", fleet.MaxWorkers))
	}
	redisAway := false
	for i := range f.Streams {
		stream := &f.Streams[i]
		list = append(list, stream.troubles()...)
		redisAway = redisAway || stream.Exists && stream.UnreadDropped == nil && slices.Contains(contract.Streams(), stream.Stream)
	}
	if redisAway {
		list = append(list, "Redis does not answer who asks: what was dropped unread, and whose lane is empty, is not known")
	}
	if more := len(list) - maxSentences; more > 0 {
		list = append(list[:maxSentences], fmt.Sprintf("and %d more", more))
	}
	return list
}

// troubles says which workers are lost or not ready, and why others are degraded. What several workers say alike is said
// once.
func troubles(workers []fleet.Worker) []string {
	type trouble struct {
		rank int // the worst is 0
		text string
		ids  []string
	}
	var all []*trouble
	byText := map[string]*trouble{}
	add := func(rank int, w *fleet.Worker, text string) {
		t := byText[text]
		if t == nil {
			t = &trouble{rank: rank, text: text}
			byText[text], all = t, append(all, t)
		}
		t.ids = append(t.ids, w.ID)
	}
	for i := range workers {
		w := &workers[i]
		switch {
		case w.State == fleet.Lost:
			add(0, w, "lost: nothing is heard of it")
		case w.State == fleet.NotReady && len(w.Faults) == 0:
			add(1, w, "not ready")
		case w.State == fleet.NotReady || w.State == fleet.Degraded || w.State == fleet.Starting:
			for _, fault := range w.Faults {
				rank := 2
				if fault.Status == "failed" {
					rank = 1
				}
				add(rank, w, strings.ReplaceAll(string(w.State), "_", " ")+": "+fault.Check+": "+cmp.Or(fault.Detail, fault.Status))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *trouble) int { return cmp.Compare(a.rank, b.rank) })
	var list []string
	for _, t := range all {
		who := "worker " + t.ids[0]
		if n := len(t.ids); n > 1 {
			who = fmt.Sprintf("%d workers (%s and others)", n, t.ids[0])
		}
		list = append(list, who+": "+t.text)
	}
	return list
}

// troubles says what is wrong with a stream and its consumers.
func (s *Stream) troubles() []string {
	if !s.Exists {
		return []string{"stream " + s.Stream + " does not exist"}
	}
	var list []string
	for _, c := range s.Consumers {
		if c.Fault != "" {
			list = append(list, "consumer "+c.Consumer+": "+c.Fault)
		}
	}
	switch s.Stream {
	case contract.StreamCommands, contract.StreamEligibility, contract.StreamOverflow, contract.StreamRetry:
		if s.MaxBytes == nil || s.Bytes < uint64(*s.MaxBytes)/100*nearlyFull { //nolint:gosec // above 0
			break
		}
		what := "when it is full, it refuses new messages"
		if s.Stream == contract.StreamRetry {
			what = "what is tried again waits among the unacknowledged messages"
		}
		list = append(list, fmt.Sprintf("stream %s has %d %% of its bytes: %s", s.Stream,
			s.Bytes*100/uint64(*s.MaxBytes), what)) //nolint:gosec // above 0
	}
	return list
}
