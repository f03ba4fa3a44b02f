package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/view"
)

const (
	// shownLetters is how many dead letters a page of the list shows.
	shownLetters = 50
	// maxErrorShown is how many bytes of an error the list shows.
	maxErrorShown = 100
)

// deadLettersPage lists dead letters, and replays or purges some of them, or all that match.
func (c *console) deadLettersPage() page {
	return page{path: "/deadletters", name: "deadletters", nav: "/deadletters", script: "deadletters.js", view: c.viewDeadLetters}
}

// deadLetterList is a page of the list.
type deadLetterList struct {
	Filter  deadletter.Filter
	Oldest  bool // the oldest come first
	Streams []string
	Reasons []contract.Reason
	Entries []listedLetter
	Count   uint64 // of the stream and reason, whatever the community
	JSON    string // the filter, as a bulk run takes it
	First   string // address of the first page, "" on it
	Next    string // address of the next page, "" on the last
}

// Filtered reports whether some are left out.
func (l *deadLetterList) Filtered() bool { return l.Filter != deadletter.Filter{} }

// All says which dead letters a run over all that match is for.
func (l *deadLetterList) All() string {
	text := "all " + number(l.Count) + " dead letters"
	if l.Count == 1 {
		text = "the only dead letter"
	}
	if l.Filter.Community != "" {
		text = "all dead letters of community " + l.Filter.Community // how many these are is not known
	}
	if l.Filter.Stream != "" {
		text += " of " + l.Filter.Stream
	}
	if l.Filter.Reason != "" {
		text += " with the reason " + words(l.Filter.Reason)
	}
	return text
}

// listedLetter is a row of the list.
type listedLetter struct{ deadletter.Entry }

// ErrorShown is the beginning of the error.
func (l *listedLetter) ErrorShown() string { return contract.Clip(l.Error, maxErrorShown) }

func (c *console) viewDeadLetters(r *http.Request) (content, error) {
	v := r.URL.Query()
	q := deadletter.Query{
		Filter: deadletter.Filter{
			Stream: v.Get("stream"), Reason: contract.Reason(v.Get("reason")), Community: strings.TrimSpace(v.Get("community")),
		},
		Order: deadletter.NewestFirst, Limit: shownLetters,
	}
	if order := v.Get("order"); order != "" {
		q.Order = deadletter.Order(order)
	}
	var err error
	if q.Cursor, err = view.ParseNext(v.Get("cursor")); err != nil {
		return content{}, err
	}
	page, err := c.deadLetters.List(r.Context(), q)
	if err != nil {
		return content{}, err
	}
	l := deadLetterList{
		Filter: q.Filter, Oldest: q.Order == deadletter.OldestFirst, Streams: contract.Streams(), Reasons: contract.Reasons(), JSON: string(encode(q.Filter)),
	}
	if l.Count, err = c.deadLetters.Count(r.Context(), deadletter.Filter{Stream: q.Stream, Reason: q.Reason}); err != nil {
		return content{}, err
	}
	for _, e := range page.Entries {
		l.Entries = append(l.Entries, listedLetter{e})
	}
	if q.Cursor > 0 {
		l.First = lettersAddress(&q, 0)
	}
	if page.Next > 0 {
		l.Next = lettersAddress(&q, page.Next)
	}
	return content{title: "Dead letters", data: &l}, nil
}

// lettersAddress is the address of a page of the list.
func lettersAddress(q *deadletter.Query, cursor uint64) string {
	v := url.Values{}
	for name, value := range map[string]string{
		"stream": q.Stream, "reason": string(q.Reason), "community": q.Community,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Order == deadletter.OldestFirst {
		v.Set("order", string(q.Order))
	}
	if cursor > 0 {
		v.Set("cursor", strconv.FormatUint(cursor, 10))
	}
	if len(v) == 0 {
		return "/deadletters"
	}
	return "/deadletters?" + v.Encode()
}
