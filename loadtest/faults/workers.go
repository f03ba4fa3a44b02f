package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
)

// worker is one `arrakis serve`, with a relay and a proxy of its own before each server.
type worker struct {
	*program.Process
	http, ops string // addresses
	nats      []*link
	relays    []*relay
	redis     *link
}

// Settings of the workers. They are shorter than an operator's, so that a run sees what they lead to.
const (
	handlerTimeout = "2s"
	commandTTL     = "6s"
	maxAttempts    = 5
	retryBackoff   = "1s,2s"
	// concurrency is so low that a community that floods has a backlog with a few thousand messages.
	concurrency = 32
)

// newWorker prepares worker number i, from 1.
func (r *run) newWorker(n *network, i int) (*worker, error) {
	addrs, err := program.FreeAddrs(2)
	if err != nil {
		return nil, err
	}
	w := &worker{http: addrs[0], ops: addrs[1]}
	name := fmt.Sprintf("worker-%d", i)
	var urls []string
	for _, node := range r.nodes {
		l, err := n.link(name+" and "+node.Name, node.Addr)
		if err != nil {
			return nil, err
		}
		r.teardown = append(r.teardown, l.close)
		relay, err := newRelay(l.addr(), func(subject string, content []byte) bool { return r.heard(w, subject, content) })
		if err != nil {
			return nil, err
		}
		r.teardown = append(r.teardown, relay.close)
		w.nats, w.relays = append(w.nats, l), append(w.relays, relay)
		urls = append(urls, "nats://"+relay.addr())
	}
	if w.redis, err = n.link(name+" and redis", r.redis.addr); err != nil {
		return nil, err
	}
	r.teardown = append(r.teardown, w.redis.close)
	w.Process = &program.Process{
		Name: name, Path: r.o.arrakis, Args: []string{"serve"}, Log: filepath.Join(r.dir, name+".log"),
		Env: []string{
			"NATS_URL=" + strings.Join(urls, ","), "REDIS_URL=redis://" + w.redis.addr(),
			"HTTP_ADDR=" + w.http, "OPS_ADDR=" + w.ops, "INGRESS_TOKEN=" + ingressToken,
			"LIMIT_ON_REDIS_DOWN=" + r.o.onRedisDown, "COMMAND_TTL=" + commandTTL,
			"HANDLER_CONCURRENCY=" + strconv.Itoa(concurrency), "HANDLER_TIMEOUT=" + handlerTimeout,
			"MAX_ATTEMPTS=" + strconv.Itoa(maxAttempts), "RETRY_BACKOFF=" + retryBackoff,
			"SHUTDOWN_TIMEOUT=10s", "STREAM_REPLICAS=" + strconv.Itoa(len(r.nodes)),
			"LOG_FORMAT=json",
		},
	}
	return w, nil
}

const ingressToken = "faults"

// heard notes what a worker publishes, before it can have an effect.
func (r *run) heard(w *worker, subject string, content []byte) bool {
	switch {
	case strings.HasPrefix(subject, "_INBOX."):
		if o, ok := parseOutcome(content); ok {
			r.ledger.Answer(o.EventID, o.Status, o.Error.Code)
		}
	case strings.HasPrefix(subject, "handlers.") && bytes.Contains(content, []byte("-"+kills+`"`)):
		r.begin(eventID(content), "")
		r.killings.Add(1)
		w.Kill()
		return false
	}
	return true
}

// begin notes that a handler begins to run, before it can have an effect, and returns which run of the message it is.
// attempt is the number of the attempt, as the worker tells it.
func (r *run) begin(id, attempt string) int {
	if n, err := strconv.Atoi(attempt); err == nil && n > maxAttempts {
		r.mu.Lock()
		r.beyond = append(r.beyond, beyond{id: id, attempt: n, at: time.Now()})
		r.mu.Unlock()
	}
	written, err := r.redis.written()
	if err != nil {
		written = math.MaxInt64 // accuses nobody; the audit reads the same file, and fails if that is not to be had
	}
	return r.ledger.Begin(id, written)
}

// ready returns nil if the worker says that it is ready.
func (w *worker) ready(ctx context.Context) error {
	if err := program.Get(ctx, "http://"+w.ops+"/readyz", ""); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	return nil
}

// eventID finds the event ID in a body, whole or cut.
func eventID(body []byte) string {
	_, rest, found := bytes.Cut(body, []byte(`"event_id":"`))
	id, _, ended := bytes.Cut(rest, []byte(`"`))
	if !found || !ended {
		return ""
	}
	return string(id)
}

// told notes an outcome that has reached the sender's inbox.
func told(l *audit.Ledger, data []byte) {
	if o, ok := parseOutcome(data); ok {
		l.Tell(o.EventID, o.Status, o.Error.Code)
	}
}
