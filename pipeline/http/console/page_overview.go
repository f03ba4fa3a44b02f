package console

import (
	"net/http"

	"arrakis/pipeline/http/live"
	"arrakis/pipeline/view"
)

// overviewPage shows the fleet: what it does now and did in the last minutes, and its workers.
func (c *console) overviewPage() page {
	return page{
		path: "/{$}", name: "overview", nav: "/", charts: true, script: "charts.js",
		view: func(*http.Request) (content, error) { return content{title: "Overview"}, nil },
	}
}

// totals are the numbers of the overview.
type totals struct {
	*view.Fleet
	Lag     uint64 // messages that no handler has: in the streams, in lanes, and waiting in workers
	Failing bool   // more than one message in a hundred fails
}

func numbers(s *live.Snapshot) any {
	t := &s.Fleet.Totals
	return totals{Fleet: s.Fleet, Lag: t.Pending + t.InLanes + uint64(max(t.Waiting, 0)), Failing: t.Rates.Failed*100 > t.Rates.In}
}

// busiest are the first communities of those that wait, for the overview.
func busiest(s *live.Snapshot) any {
	const shown = 8
	all := s.Fleet.Waiting
	return all[:min(len(all), shown)]
}
