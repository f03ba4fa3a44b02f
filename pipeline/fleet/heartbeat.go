package fleet

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

const (
	// Interval is the time between two heartbeats of a worker.
	Interval = 2 * time.Second
	// LostAfter is how long nothing must be heard of a worker for it to count as lost. A heartbeat comes late by as long
	// as the health checks take, 2 s at most.
	LostAfter = 4 * Interval
	// forgottenAfter is how long the last heartbeat of a worker is remembered, as by INTERNAL.
	forgottenAfter = time.Minute
	// MaxWorkers is how many workers a Watcher knows at most.
	MaxWorkers = 1_000
	// MaxTop is how many communities a heartbeat names because most of their messages wait, and again as many because
	// they take the most handler time.
	MaxTop = 50

	maxHeartbeat = 64 << 10 // bytes, more than the largest heartbeat of a worker
	maxFaults    = 8
	maxText      = 512 // bytes of a text that people read
	maxWord      = 64  // bytes of the name or the status of a check
)

// Health is the state of a worker.
type Health string

// The states of a worker. It is starting until it is ready for the first time.
const (
	Starting Health = "starting"
	Ready    Health = "ready"
	Degraded Health = "degraded"  // it works, with restrictions
	NotReady Health = "not_ready" // it has been ready
	Draining Health = "draining"
	Stopped  Health = "stopped"
	Lost     Health = "lost" // said by who reads, never by the worker
)

// Heartbeat is what a worker tells of itself.
type Heartbeat struct {
	ID      string    `json:"id"`   // unique for each process: letters, digits, - and _
	Beat    uint64    `json:"beat"` // its number, from 1
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`   // by the worker's clock
	Uptime  int64     `json:"uptime_ms"` // since then, whatever the clock did
	Shards  int       `json:"shards"`
	// Handlers is how many handlers may run at once.
	Handlers int     `json:"handlers"`
	State    Health  `json:"state"`
	Faults   []Fault `json:"faults,omitempty"` // what keeps it from being ready, as /readyz says it
	Activity
}

// Fault is a check of the worker's health that is not ok.
type Fault struct {
	Check  string `json:"check"` // nats, redis, config or consumers
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// NewFault makes a fault. detail may be long, and of several lines.
func NewFault(check, status, detail string) Fault {
	return Fault{Check: contract.Clip(check, maxWord), Status: contract.Clip(status, maxWord), Detail: contract.Clip(detail, maxText)}
}

// Activity is what a process does.
type Activity struct {
	Rates     Rates `json:"rates"`
	Waiting   int   `json:"waiting"`    // admitted messages that wait for a handler
	Running   int   `json:"running"`    // handlers that run, and messages that were not handled and wait to be stored
	InProcess int   `json:"in_process"` // all messages from decode to their end
	// Top are the MaxTop communities of which the most messages wait, and the MaxTop that take the most handler time.
	Top []Community `json:"top,omitempty"`
}

// Rates are messages a second since the last heartbeat.
type Rates struct {
	In           float64 `json:"in"`            // decoded, also those that came again
	Handled      float64 `json:"handled"`       // that a handler has answered, also with an error 4xx, and also over a limit in shadow mode
	Limited      float64 `json:"limited"`       // that a limit has refused
	Failed       float64 `json:"failed"`        // errors, as arrakis_tenant_errors_total counts them
	DeadLettered float64 `json:"dead_lettered"` // stored among the dead letters
}

// Add adds the rates of another worker.
func (r *Rates) Add(other Rates) {
	r.In += other.In
	r.Handled += other.Handled
	r.Limited += other.Limited
	r.Failed += other.Failed
	r.DeadLettered += other.DeadLettered
}

// Community is what a community does in a process.
type Community struct {
	ID      string `json:"community_id"`
	Tier    string `json:"tier"`
	Waiting int    `json:"waiting"` // admitted messages that wait for a handler
	Running int    `json:"running"`
	// Busy is handler time by time, averaged over about ten seconds: 2.5 is as much as two and a half handlers that run
	// all the time. A handler counts when it has ended.
	Busy float64 `json:"busy"`
}

// NewID makes the ID of a process on a host.
func NewID(host string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && validIDByte(byte(r)) { //nolint:gosec // ASCII
			return r
		}
		return '-'
	}, host)
	if len(name) > 64 {
		name = name[:64]
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // it never fails
	return strings.TrimLeft(name+"-"+hex.EncodeToString(random[:]), "-")
}

func validID(id string) bool {
	for i := range len(id) {
		if !validIDByte(id[i]) {
			return false
		}
	}
	return id != "" && len(id) <= 128
}

func validIDByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// subjectPrefix begins the subjects of heartbeats.
const subjectPrefix = "internal.worker."

func subject(id string) string { return subjectPrefix + id }

// parse reads a heartbeat that was published on a subject. Whoever may publish there may have published anything: what is
// returned is bounded and can be shown. Unknown members are ignored, because a worker may be newer than this one.
func parse(on string, data []byte) (*Heartbeat, error) {
	if len(data) > maxHeartbeat {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(data), maxHeartbeat)
	}
	h := new(Heartbeat)
	if err := json.Unmarshal(data, h); err != nil {
		return nil, errors.New("not the JSON of a heartbeat")
	}
	if !validID(h.ID) || on != subject(h.ID) {
		return nil, errors.New("its id is not that of its subject")
	}
	switch h.State {
	case Starting, Ready, Degraded, NotReady, Draining, Stopped:
	default:
		return nil, errors.New("its state is unknown")
	}
	h.Host, h.Version = contract.Clip(h.Host, maxText), contract.Clip(h.Version, maxText)
	h.Started = h.Started.UTC()
	if year := h.Started.Year(); year < 1 || year > 9999 {
		return nil, errors.New("started is no time")
	}
	h.Uptime = max(h.Uptime, 0)
	h.PID, h.Shards, h.Handlers = max(h.PID, 0), max(h.Shards, 0), max(h.Handlers, 0)
	h.Faults = h.Faults[:min(len(h.Faults), maxFaults)]
	for i := range h.Faults {
		f := h.Faults[i]
		h.Faults[i] = NewFault(f.Check, f.Status, f.Detail)
	}
	h.bound()
	return h, nil
}

// largest bounds each number, so that sums of them stay exact and finite.
const largest = 1e12

// bound makes the numbers plausible and the list short.
func (a *Activity) bound() {
	for _, n := range []*int{&a.Waiting, &a.Running, &a.InProcess} {
		*n = min(max(*n, 0), largest)
	}
	for _, r := range []*float64{&a.Rates.In, &a.Rates.Handled, &a.Rates.Limited, &a.Rates.Failed, &a.Rates.DeadLettered} {
		*r = math.Min(math.Max(*r, 0), largest)
	}
	top := a.Top[:0]
	for _, c := range a.Top {
		if len(top) == 2*MaxTop {
			break
		}
		if !tenant.ValidID(c.ID) {
			continue
		}
		switch tenant.Tier(c.Tier) {
		case tenant.Free, tenant.Pro, tenant.Enterprise:
		default:
			c.Tier = ""
		}
		c.Waiting, c.Running = min(max(c.Waiting, 0), largest), min(max(c.Running, 0), largest)
		c.Busy = math.Min(math.Max(c.Busy, 0), largest)
		top = append(top, c)
	}
	a.Top = top
}
