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

// standing are the communities whose messages wait.
type standing struct {
	Most   int // messages of the first
	ByWait []view.WaitingCommunity
}

func waiting(s *live.Snapshot) any {
	var v standing
	for _, w := range s.Fleet.Waiting {
		if w.Waiting > 0 {
			v.ByWait = append(v.ByWait, w)
			v.Most = max(v.Most, w.Waiting)
		}
	}
	return v
}

// leastBusy is the least handler time that is worth a row: less would read as 0.00.
const leastBusy = 0.005

// busy are the communities that take handler time, the most first.
func busy(s *live.Snapshot) any {
	var v []view.WaitingCommunity
	for _, w := range s.Fleet.Waiting {
		if w.Busy >= leastBusy {
			v = append(v, w)
		}
	}
	slices.SortStableFunc(v, func(a, b view.WaitingCommunity) int { return cmp.Compare(b.Busy, a.Busy) })
	return v
}
