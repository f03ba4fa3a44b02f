package admin

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
)

// fleet shows all workers, the streams, the lanes and the dead letters.
func (a *api) fleet(_ http.ResponseWriter, r *http.Request) (answer, error) {
	s, err := a.live.Latest(r.Context())
	if err != nil {
		return answer{}, err
	}
	return answer{body: s.Fleet}, nil
}

// stream sends the fleet each second, and each change of configuration that reaches this process, as server-sent events.
// It takes no slot of the requests in flight: the hub bounds it.
func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		a.refuse(w, r, problem.MethodNotAllowed(w.Header(), r, http.MethodGet))
		return
	}
	err, told := checkQuery(r, nil), a.live.LastChange()
	var snapshots <-chan *live.Snapshot
	if err == nil {
		snapshots, err = a.live.Subscribe(r.Context())
	}
	if err != nil {
		a.refuse(w, r, a.problemOf(r, err))
		return
	}
	live.Serve(w, r, func(_ context.Context, w *live.Writer) error {
		for s := range snapshots {
			for _, c := range s.ChangesAfter(told) {
				data, err := json.Marshal(c.Change)
				if err != nil {
					return err
				}
				if err := w.Event("change", data); err != nil {
					return err
				}
			}
			told = max(told, s.LastChange())
			if err := w.Send(s.FleetEvent()); err != nil {
				return err
			}
		}
		return nil
	})
}
