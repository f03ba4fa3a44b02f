package console

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/view"
)

const (
	// maxHeadersShown is how many headers of a dead letter are shown, and how many bytes of their names and values.
	maxHeadersShown = 100
	maxNameShown    = 128
	maxValueShown   = 2 << 10
)

// deadLetterPage shows one dead letter, and replays or deletes it.
func (c *console) deadLetterPage() page {
	return page{path: "/deadletters/{seq}", name: "deadletter", nav: "/deadletters", view: c.viewDeadLetter}
}

// letterDetail is what the page shows.
type letterDetail struct {
	*deadletter.Entry
	Why        string // what its reason means
	Refused    string // why it cannot be replayed, "" if it can
	Shown      []letterHeader
	MoreHidden int // headers that are not shown
	Payload    payload
	API        string // its path in the API
}

// letterHeader is a header of the message.
type letterHeader struct {
	Name, Value string
	Clipped     bool
}

func (c *console) viewDeadLetter(r *http.Request) (content, error) {
	seq, err := view.ParseSeq(r.PathValue("seq"))
	if err != nil {
		return content{}, err
	}
	entry, err := c.deadLetters.Get(r.Context(), seq)
	if err != nil {
		return content{}, err
	}
	body := []byte(entry.Body)
	if entry.BodyBase64 != nil {
		body = entry.BodyBase64
	}
	d := letterDetail{
		Entry: &entry, Why: whys[entry.Reason], Payload: newPayload(body), API: string(joinPath("/v1/deadletters", seq)),
	}
	if err := entry.Replayable(); err != nil {
		text := err.Error()
		d.Refused = strings.ToUpper(text[:1]) + text[1:]
	}
	d.Shown, d.MoreHidden = shownHeaders(entry.Headers)
	return content{title: "Dead letter " + plain(seq), data: &d}, nil
}

// whys say what the reasons mean.
var whys = map[contract.Reason]string{
	contract.ReasonMalformed:         "The message is not what its subject promises, or nobody reads that subject.",
	contract.ReasonNoCommunity:       "The message names no community.",
	contract.ReasonAttemptsExhausted: "Its handler has failed in each of its attempts.",
	contract.ReasonNoHandler:         "No handler has answered for as long as the message was tried.",
	contract.ReasonPanic:             "Its handler has panicked: that is a bug of the handler.",
	contract.ReasonWorkerKilled:      "Workers have died while they handled it.",
	contract.ReasonHandlerError:      "Its handler refused it, under an earlier version of arrakis.",
}

// shownHeaders are the headers that the facts on the page do not say, in order, and how many more there are.
func shownHeaders(headers map[string][]string) (shown []letterHeader, hidden int) {
	facts := []string{
		contract.HeaderReason, contract.HeaderError, contract.HeaderAttempts, contract.HeaderSubject, contract.HeaderStream, contract.HeaderSequence,
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if slices.Contains(facts, name) {
			continue
		}
		for _, value := range headers[name] {
			if len(shown) == maxHeadersShown {
				hidden++
				continue
			}
			shown = append(shown, letterHeader{
				Name: name[:min(len(name), maxNameShown)], Value: value[:min(len(value), maxValueShown)],
				Clipped: len(name) > maxNameShown || len(value) > maxValueShown,
			})
		}
	}
	return shown, hidden
}
