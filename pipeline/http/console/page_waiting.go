package console

import (
	"cmp"
	"net/http"
	"slices"

	"arrakis/pipeline/http/live"
	"arrakis/pipeline/view"
)

// waitingPage shows which communities wait, and which take the handlers.
func (c *console) waitingPage() page {
	return page{
		path: "/waiting", name: "waiting", nav: "/waiting",
		view: func(*http.Request) (content, error) { return content{title: "Waiting"}, nil },
	}
}

// standing are the communities of the waiting page, in two orders.
type standing struct {
	Most   int                     // most messages of one community that wait
	ByWait []view.WaitingCommunity // those that wait
	ByTime []view.WaitingCommunity // those that take handler time
}

// leastBusy is the least handler time that is worth a row: less would read as 0.00.
const leastBusy = 0.005

func waiting(s *live.Snapshot) any {
	var v standing
	for _, w := range s.Fleet.Waiting {
		if w.Waiting > 0 {
			v.ByWait = append(v.ByWait, w)
			v.Most = max(v.Most, w.Waiting)
		}
		if w.Busy >= leastBusy {
			v.ByTime = append(v.ByTime, w)
		}
	}
	slices.SortStableFunc(v.ByTime, func(a, b view.WaitingCommunity) int { return cmp.Compare(b.Busy, a.Busy) })
	return v
}
