package admin

import (
	"net/http"
	"strconv"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

func (a *api) listLetters(_ http.ResponseWriter, r *http.Request) (answer, error) {
	q, err := query(r, "limit", "cursor", "stream", "reason")
	if err != nil {
		return answer{}, err
	}
	ask := deadletter.Query{Stream: q.Get("stream"), Reason: contract.Reason(q.Get("reason"))}
	if ask.Limit, err = pageLimit(q); err != nil {
		return answer{}, err
	}
	if q.Get("cursor") != "" {
		if ask.After, err = strconv.ParseUint(q.Get("cursor"), 10, 64); err != nil {
			return answer{}, fault("cursor", "is not one that a list has returned; list again from the start")
		}
	}
	page, err := a.letters.List(r.Context(), ask)
	if err != nil {
		return answer{}, err
	}
	next := ""
	if page.Next > 0 {
		next = strconv.FormatUint(page.Next, 10)
	}
	body := struct {
		Letters []deadletter.Entry `json:"deadletters"`
		Next    string             `json:"next,omitempty"`
	}{page.Entries, next}
	return answer{body: body, next: nextPage(r, q, next)}, nil
}

func (a *api) replay(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		return answer{}, fault("seq", "%.64q must be the number of a dead letter, as the list has it", r.PathValue("seq"))
	}
	done, err := a.letters.Replay(r.Context(), seq)
	return answer{body: done}, err
}
