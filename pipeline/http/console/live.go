package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
)

const (
	// maxParts bounds the parts of one page.
	maxParts = 16
	// ownInterval is how often a part that is read for one reader is read again.
	ownInterval = 2 * time.Second
	// firstWait is how long a page waits for the first snapshot of a hub that has just begun to look.
	firstWait = 3 * time.Second
)

// part is a piece of a page that is kept live, by the template "part-NAME". One of its functions is set.
type part struct {
	// of makes what the template gets of a snapshot, for all readers together.
	of func(*live.Snapshot) any
	// own makes it for one reader, by parameters that the page has set. It may take a round trip or two.
	own func(ctx context.Context, q url.Values) (any, error)

	mu     sync.Mutex // protects the fields below, which are what was rendered last; held while it is rendered
	number uint64     // of the snapshot
	last   *rendered
}

// rendered is what a part shows. Readers share it: it must not be changed.
type rendered struct {
	key  string // of the part
	html []byte

	encode sync.Once
	event  []byte
}

// Event is the event that shows it, for [live.Writer.Send]. It is made once for all readers.
func (r *rendered) Event() []byte {
	r.encode.Do(func() {
		r.event = live.Encode("part", encode(map[string]string{"part": r.key, "html": string(r.html)}))
	})
	return r.event
}

// allParts are all live parts, by name.
func (c *console) allParts() map[string]*part {
	return map[string]*part{
		"numbers": {of: numbers}, "workers": {of: fleetOf}, "busiest": {of: busiest}, "letters": {of: fleetOf},
		"waiting": {of: waiting}, "busy": {of: busy}, "lanes": {of: fleetOf},
		"streams": {of: streamsOf},
		"explain": {own: c.tenantExplained}, "queue": {own: c.tenantQueue},
		"changes": {own: c.newestChanges},
	}
}

// fleetOf is for parts that show the fleet as it is.
func fleetOf(s *live.Snapshot) any { return s.Fleet }

// latest returns the newest snapshot, or nil if there is none soon.
func (c *console) latest(ctx context.Context) *live.Snapshot {
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	s, err := c.fleet.Latest(ctx)
	if err != nil {
		return nil
	}
	return s
}

// renderPart renders a part by its key, which is its name, and "?" and its parameters if it has any. s is nil if the
// fleet is not known.
func (c *console) renderPart(ctx context.Context, key string, s *live.Snapshot) (*rendered, error) {
	name, query, _ := strings.Cut(key, "?")
	p := c.parts[name]
	if p == nil {
		return nil, fmt.Errorf("console: no part %.64q", name)
	}
	if p.own != nil {
		q, err := url.ParseQuery(query)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, firstWait)
		defer cancel()
		data, err := p.own(ctx, q)
		if err != nil {
			return nil, err
		}
		return c.execute(key, name, data)
	}
	if s == nil {
		return c.execute(key, "unknown", nil)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && p.number >= s.Number {
		return p.last, nil
	}
	shown, err := c.execute(key, name, p.of(s))
	if err == nil {
		p.last, p.number = shown, s.Number
	}
	return shown, err
}

func (c *console) execute(key, template string, data any) (*rendered, error) {
	var html bytes.Buffer
	if err := c.templates[""].ExecuteTemplate(&html, "part-"+template, data); err != nil {
		return nil, err
	}
	return &rendered{key: key, html: html.Bytes()}, nil
}

// serveLive sends the parts that the query names, each whenever it has changed, and the samples of the charts.
func (c *console) serveLive(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	keys := q["part"]
	if len(keys) > maxParts {
		_ = problem.Malformed("part", "at most %d parts of a page are live", maxParts).Write(w) // an error only means that the client is gone
		return
	}
	for _, key := range keys {
		name, _, parameters := strings.Cut(key, "?")
		if p := c.parts[name]; p == nil || p.own == nil && parameters { // what all readers share has none
			_ = problem.Malformed("part", "%.64q is not known; load the page again", name).Write(w)
			return
		}
	}
	snapshots, err := c.fleet.Subscribe(r.Context())
	if err != nil {
		_ = problem.New(http.StatusServiceUnavailable, "too-many-pages",
			"As many pages are kept live by this process as it can. Close some.").RetryAfter(5 * time.Second).Write(w)
		return
	}
	if r.Method == http.MethodHead { // asked by a page that has got no stream, and cannot see why
		return
	}
	live.Serve(w, r, func(ctx context.Context, out *live.Writer) error {
		v := viewer{console: c, keys: keys, samples: q.Has("samples"), sent: make(map[string]*rendered), read: make(map[string]time.Time)}
		for s := range snapshots {
			if err := v.send(ctx, out, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// viewer is one page that is looked at.
type viewer struct {
	console *console
	keys    []string
	samples bool
	last    uint64               // number of the last sample that was sent
	sent    map[string]*rendered // what was sent last, by key
	read    map[string]time.Time // when parts of its own were read last, by key
}

// send sends what is new in a snapshot. An error means that the client is gone.
func (v *viewer) send(ctx context.Context, out *live.Writer, s *live.Snapshot) error {
	recent := v.console.samples.add(s)
	if v.samples {
		if err := v.sendSamples(out, recent); err != nil {
			return err
		}
	}
	for _, key := range v.keys {
		name, _, _ := strings.Cut(key, "?")
		if v.console.parts[name].own != nil {
			if time.Since(v.read[key]) < ownInterval-100*time.Millisecond {
				continue
			}
			v.read[key] = time.Now()
		}
		shown, err := v.console.renderPart(ctx, key, s)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				v.console.log.DebugContext(ctx, "a part cannot be shown", "part", name, "err", err)
			}
			continue // what it showed stays
		}
		if last := v.sent[key]; last != nil && bytes.Equal(shown.html, last.html) {
			continue
		}
		v.sent[key] = shown
		if err := out.Send(shown.Event()); err != nil {
			return err
		}
	}
	return nil
}

// sendSamples sends all samples that there are at first, and then each new one.
func (v *viewer) sendSamples(out *live.Writer, recent []sample) error {
	if len(recent) == 0 {
		return nil
	}
	newest := recent[len(recent)-1]
	defer func() { v.last = newest.number }()
	switch {
	case v.last == 0:
		return out.Event("samples", encode(recent))
	case newest.number > v.last:
		return out.Event("sample", encode(newest))
	}
	return nil
}

// encode is for values that can be encoded. Nothing is escaped for HTML, of which most of a part consists: no page holds the
// text.
func encode(v any) []byte {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSpace(text.Bytes())
}

// sample is what charts show of one moment.
type sample struct {
	number uint64 // of its snapshot

	At       float64 `json:"at"` // unix seconds
	In       float64 `json:"in"` // messages a second
	Handled  float64 `json:"handled"`
	Limited  float64 `json:"limited"`
	Failed   float64 `json:"failed"`
	Pending  uint64  `json:"pending"` // messages
	Waiting  int     `json:"waiting"`
	Running  int     `json:"running"`
	InLanes  uint64  `json:"lanes"`
	Handlers int     `json:"handlers"`
}

// maxSamples is how many samples are kept: five minutes.
const maxSamples = 300

// history are the samples of the last minutes in which somebody looked. The zero value is empty.
type history struct {
	mu      sync.Mutex // protects the field below
	samples []sample   // replaced, never edited: readers have it
}

// add adds a snapshot, unless another reader has, and returns all samples.
func (h *history) add(s *live.Snapshot) []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.samples); n == 0 || h.samples[n-1].number < s.Number {
		t := &s.Fleet.Totals
		next := make([]sample, 0, maxSamples+1)
		next = append(next, h.samples[max(0, n+1-maxSamples):]...)
		h.samples = append(next, sample{
			number: s.Number, At: float64(s.Fleet.At.UnixMilli()) / 1000,
			In: t.Rates.In, Handled: t.Rates.Handled, Limited: t.Rates.Limited, Failed: t.Rates.Failed,
			Pending: t.Pending, Waiting: t.Waiting, Running: t.Running, InLanes: t.InLanes, Handlers: t.Handlers,
		})
	}
	return h.samples
}
