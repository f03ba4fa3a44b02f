package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/program"
)

const (
	// edited is how many tenants are edited, in turn, and watched how many of them are asked for on every worker.
	edited, watched = 10_000, 50
	// watchEvery says that each so many edits one is of a watched tenant.
	watchEvery = 20
	// maxInFlight is how many edits wait for their answer at most. What would be more is not started, and counted.
	maxInFlight = 2_000
	// firstLimit is the limit of the first edit of a tenant: one that is never reached. Each further edit adds one.
	firstLimit = 1_000_000
	// probePause is the time between two questions to a worker.
	probePause = 10 * time.Millisecond
	// giveUp is how long a change is waited for.
	giveUp = 30 * time.Second
	// retryAfter is what a worker asks for in Retry-After where it serves as many requests as it accepts.
	retryAfter = time.Second
)

// editsResult is what the edits have shown. Its JSON is what --json prints.
type editsResult struct {
	Sent     int64         `json:"sent"`
	Dropped  int64         `json:"dropped_starts"`
	Repeated int64         `json:"repeated"` // sent again, because a worker served as many requests as it accepts
	Failed   int64         `json:"failed"`
	Took     time.Duration `json:"took_ns"`
	Examples []string      `json:"examples,omitempty"` // of failures

	Acked   program.Latencies `json:"acknowledged"` // from when an edit was sent
	InForce program.Latencies `json:"in_force"`     // from when an edit was sent until the last worker had it in force
	Never   int               `json:"never_in_force"`
	Probes  int64             `json:"probes"`
	Drift   string            `json:"drift"` // what `arrakis tenant reconcile` says, "" for none
}

// editing makes edits. Its methods are safe for concurrent use.
type editing struct {
	site   *site
	client *http.Client

	inFlight, sent, dropped, repeated, failed, probes atomic.Int64

	tenants [watched]struct {
		busy  atomic.Bool // an edit waits for its answer, so that edits of a tenant are in order
		limit atomic.Int64
	}

	mu             sync.Mutex // protects the fields below
	acked, inForce []time.Duration
	never          int
	examples       []string
}

// runEdits makes edits at a fixed rate, whatever becomes of those before, on all workers in turn.
func (s *site) runEdits(ctx context.Context, o options, p *program.Progress) (*editsResult, error) {
	client := &http.Client{Timeout: giveUp, Transport: &http.Transport{MaxIdleConnsPerHost: maxInFlight}}
	defer client.CloseIdleConnections()
	if err := (&editing{site: s, client: client}).warm(ctx, 2*o.rate); err != nil {
		return nil, err
	}
	e := &editing{site: s, client: client}
	watching, stop := context.WithCancel(ctx)
	var progress errgroup.Group
	progress.Go(func() error {
		p.Report(watching, func() string {
			return fmt.Sprintf("%d of %d edits sent, %d in flight, %d failed", e.sent.Load(), o.total(), e.inFlight.Load(), e.failed.Load())
		})
		return nil
	})
	began, err := time.Now(), error(nil)
	var open sync.WaitGroup
	for i := 0; i < o.total() && err == nil; i++ {
		err = program.Pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(o.rate))))
		if err == nil {
			e.start(ctx, i, &open)
		}
	}
	took := time.Since(began)
	open.Wait()
	stop()
	_ = progress.Wait() // returns nil only
	if err != nil {
		return nil, err
	}
	r := &editsResult{
		Sent: e.sent.Load(), Dropped: e.dropped.Load(), Repeated: e.repeated.Load(), Failed: e.failed.Load(), Took: took, Examples: e.examples,
		Acked: program.NewLatencies(e.acked), InForce: program.NewLatencies(e.inForce), Never: e.never, Probes: e.probes.Load(),
	}
	r.Drift, err = s.drift(ctx)
	return r, err
}

// warm makes n edits, of which few wait at a time: they open connections, and workers know the watched tenants then.
func (e *editing) warm(ctx context.Context, n int) error {
	var g errgroup.Group
	g.SetLimit(8 * len(e.site.workers))
	for i := range n {
		at, id := e.site.workers[i%len(e.site.workers)], tenantID(i%edited)
		g.Go(func() error {
			if !e.edit(ctx, at, id, firstLimit) {
				return fmt.Errorf("before the load: %s", e.example())
			}
			if i < watched*len(e.site.workers) {
				_, err := e.limit(ctx, at, tenantID(i/len(e.site.workers)))
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// example is an edit that failed.
func (e *editing) example() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.examples[0]
}

// start starts the i-th edit.
func (e *editing) start(ctx context.Context, i int, open *sync.WaitGroup) {
	if e.inFlight.Load() >= maxInFlight {
		e.dropped.Add(1)
		return
	}
	at := e.site.workers[i%len(e.site.workers)]
	if which := i / watchEvery % watched; i%watchEvery == 0 && e.tenants[which].busy.CompareAndSwap(false, true) {
		limit := firstLimit + e.tenants[which].limit.Add(1)
		open.Go(func() { e.watch(ctx, at, which, limit) })
		return
	}
	open.Go(func() { e.edit(ctx, at, tenantID(watched+i%(edited-watched)), firstLimit+int64(i)) })
}

// tenantID is the ID of tenant i, of all.
func tenantID(i int) string { return fmt.Sprintf("comm_%07d", i) }

// watch edits a watched tenant, and asks all workers for it until they have the edit in force.
func (e *editing) watch(ctx context.Context, at *worker, which int, limit int64) {
	id, began := tenantID(which), time.Now()
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	var asking sync.WaitGroup
	var late atomic.Int64
	for _, w := range e.site.workers {
		asking.Go(func() {
			if !e.await(ctx, w, id, limit) {
				late.Add(1)
			}
		})
	}
	acked := e.edit(ctx, at, id, limit)
	e.tenants[which].busy.Store(false)
	if !acked {
		cancel()
	}
	asking.Wait()
	took := time.Since(began)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !acked:
	case late.Load() > 0:
		e.never++
	default:
		e.inForce = append(e.inForce, took)
	}
}

// edit sets the limit of a tenant, and reports whether that was acknowledged. Where the worker serves as many requests as
// it accepts, the edit is sent again when the worker says, and its time runs on.
func (e *editing) edit(ctx context.Context, at *worker, id string, limit int64) bool {
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	e.sent.Add(1)
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	began := time.Now()
	body := fmt.Sprintf(`{"tier":"pro","rateLimits":{"commandsPerMinute":%d}}`, limit)
	patch := func() error {
		_, err := e.ask(ctx, http.MethodPatch, "http://"+at.ops+"/v1/tenants/"+id, "application/merge-patch+json", body)
		return err
	}
	err := patch()
	for errors.Is(err, errTooMany) && program.Pause(ctx, retryAfter) == nil {
		e.repeated.Add(1)
		err = patch()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.failed.Add(1)
		if len(e.examples) < 3 {
			e.examples = append(e.examples, err.Error())
		}
		return false
	}
	e.acked = append(e.acked, time.Since(began))
	return true
}

// await asks a worker until it has the limit, or a later one, in force. It returns false if ctx ends before.
func (e *editing) await(ctx context.Context, w *worker, id string, limit int64) bool {
	for {
		has, err := e.limit(ctx, w, id)
		if err == nil && has >= limit {
			return true
		}
		if program.Pause(ctx, probePause) != nil {
			return false
		}
	}
}

// limit is the limit that a worker has in force: that by which it has handled a command.
func (e *editing) limit(ctx context.Context, w *worker, id string) (int64, error) {
	e.probes.Add(1)
	text, err := e.ask(ctx, http.MethodPost, "http://"+w.http+"/v1/commands", "application/json",
		fmt.Sprintf(`{"guild_id":%q,"data":{"command_name":"ping"}}`, id))
	if err != nil {
		return 0, err
	}
	var outcome struct {
		RateLimit struct {
			Limit int64 `json:"limit"`
		} `json:"rate_limit"`
	}
	err = json.Unmarshal(text, &outcome)
	return outcome.RateLimit.Limit, err
}

// errTooMany means that a worker serves as many requests as it accepts.
var errTooMany = errors.New("too many requests are being served")

// ask returns the body of an answer 200 or 201.
func (e *editing) ask(ctx context.Context, method, url, contentType, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil || resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated:
		return text, err
	case resp.StatusCode == http.StatusServiceUnavailable && bytes.Contains(text, []byte("too-many-requests")):
		return nil, fmt.Errorf("%w: %s %s", errTooMany, method, url)
	default:
		return nil, fmt.Errorf("%s %s: %s: %.300s", method, url, resp.Status, text)
	}
}

// drift is what `arrakis tenant reconcile` says if Redis does not have what PostgreSQL has.
func (s *site) drift(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, s.arrakis, "tenant", "reconcile") //nolint:gosec // just built
	cmd.Env = append(os.Environ(), s.env()...)
	out, err := cmd.CombinedOutput()
	switch code := cmd.ProcessState.ExitCode(); code {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(string(out)), nil
	default: // also -1, if it could not be started
		return "", fmt.Errorf("arrakis tenant reconcile: %w: %s", err, out)
	}
}
