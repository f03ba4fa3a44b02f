package admin

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/view"
	"arrakis/tenant/store"
)

func (a *api) deadLetterPage(ctx context.Context, q url.Values, limit int) (any, string, error) {
	cursor, err := view.ParseNext(q.Get("cursor"))
	if err != nil {
		return nil, "", err
	}
	page, err := a.deadLetters.List(ctx, deadletter.Query{
		Filter: deadletter.Filter{Stream: q.Get("stream"), Reason: contract.Reason(q.Get("reason")), Community: q.Get("community")},
		Order:  deadletter.Order(q.Get("order")), Cursor: cursor, Limit: limit,
	})
	document := view.NewDeadLetters(page)
	return document, document.Next, err
}

// deadLetter shows one dead letter, with its headers.
func (a *api) deadLetter(_ http.ResponseWriter, r *http.Request) (answer, error) {
	seq, err := view.ParseSeq(r.PathValue("seq"))
	if err != nil {
		return answer{}, err
	}
	entry, err := a.deadLetters.Get(r.Context(), seq)
	return answer{body: entry}, err
}

// deleteDeadLetter deletes one dead letter for good.
func (a *api) deleteDeadLetter(_ http.ResponseWriter, r *http.Request) (answer, error) {
	seq, err := view.ParseSeq(r.PathValue("seq"))
	if err != nil {
		return answer{}, err
	}
	if err := a.deadLetters.Delete(r.Context(), seq); err != nil {
		return answer{}, err
	}
	a.record(r.Context(), store.AuditEntry{Type: store.AuditPurge, Target: strconv.FormatUint(seq, 10)})
	return answer{}, nil
}

// replay puts a dead letter back into its original stream.
func (a *api) replay(_ http.ResponseWriter, r *http.Request) (answer, error) {
	seq, err := view.ParseSeq(r.PathValue("seq"))
	if err != nil {
		return answer{}, err
	}
	done, err := a.deadLetters.Replay(r.Context(), seq)
	if err != nil {
		return answer{}, err
	}
	a.record(r.Context(), store.AuditEntry{
		Type: store.AuditReplay, Target: strconv.FormatUint(seq, 10), After: store.NewAuditText(done),
	})
	return answer{body: done}, nil
}

// bulk does the next part of a run over many dead letters.
func (a *api) bulk(action deadletter.Action) endpoint {
	return func(w http.ResponseWriter, r *http.Request) (answer, error) {
		data, err := readBody(w, r, body.JSON)
		if err != nil {
			return answer{}, err
		}
		run, err := parseBulk(data)
		if err != nil {
			return answer{}, err
		}
		run.Action = action
		part, err := a.deadLetters.Run(r.Context(), run)
		if err != nil {
			return answer{}, err
		}
		if entry, ok := view.BulkAudit(run, part); ok {
			a.record(r.Context(), entry)
		}
		return answer{body: part}, nil
	}
}

// parseBulk reads the body of a bulk run. It must name dead letters or have a filter, so that what was left out by
// mistake does not mean all of them.
func parseBulk(data []byte) (run deadletter.Bulk, err error) {
	var filter map[string]string
	known := map[string]struct {
		into   any
		expect string
	}{
		"seqs":   {&run.Seqs, "must be an array of the numbers of dead letters, as the list shows them"},
		"filter": {&filter, `must be an object such as {"community":"comm_007","reason":"panic"}, or {} for all dead letters`},
		"cursor": {&run.Cursor, "must be the next of the part before, as a string"},
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return run, fault("body", `must be a JSON object such as {"seqs":[17,18]} or {"filter":{"community":"comm_007"}}`)
	}
	for name, raw := range members {
		member, ok := known[name]
		if !ok {
			return run, fault(name, "is unknown; known are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := json.Unmarshal(raw, member.into); err != nil {
			return run, fault(name, "%s", member.expect)
		}
	}
	if (len(run.Seqs) > 0) == (filter != nil) {
		return run, fault("seqs", "or filter is expected, and not both")
	}
	run.Filter, err = parseFilter(filter)
	return run, err
}

// parseFilter refuses an empty value, which an empty variable of a script may be: it would select all.
func parseFilter(members map[string]string) (f deadletter.Filter, err error) {
	for name, value := range members {
		if value == "" {
			return f, fault(name, "must not be empty; leave it out to select all")
		}
		switch name {
		case "stream":
			f.Stream = value
		case "reason":
			f.Reason = contract.Reason(value)
		case "community":
			f.Community = value
		default:
			return f, fault(name, "is unknown; known are community, reason, stream")
		}
	}
	return f, nil
}
