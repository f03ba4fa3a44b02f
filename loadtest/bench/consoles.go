package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// pagesEvery is how often each console asks for a page of tenants, besides watching the overview.
	pagesEvery = 500 * time.Millisecond
	// searched is how many digits of an ID a console searches for: about a thousand of 100,000 tenants have them.
	searched = 100
)

// consoles are consoles that are open on a worker: each watches the live overview, and searches the tenants.
type consoles struct {
	addr string
	http *http.Client
	stop context.CancelFunc
	g    errgroup.Group
	seen atomic.Int64 // events of all consoles

	mu    sync.Mutex      // protects pages
	pages []time.Duration // until a page was read whole
}

// openConsoles opens r.consoles, and returns when each has seen its first event and page.
func openConsoles(ctx context.Context, addr string, r pipelineRun) (*consoles, error) {
	ctx, stop := context.WithCancel(ctx)
	c := &consoles{addr: "http://" + addr, stop: stop, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * r.consoles}}}
	ready := make(chan struct{}, 2*r.consoles)
	for range r.consoles {
		c.g.Go(func() error { return c.watch(ctx, ready) })
		c.g.Go(func() error { return c.search(ctx, ready) })
	}
	late := time.After(30 * time.Second)
	for range 2 * r.consoles {
		select {
		case <-ready:
		case <-late:
			_, err := c.close()
			return nil, fmt.Errorf("the consoles are not open after 30 s: %w", err)
		}
	}
	return c, nil
}

// watch reads the live overview until ctx ends.
func (c *consoles) watch(ctx context.Context, ready chan<- struct{}) error {
	body, err := c.get(ctx, "/live?part=numbers&part=workers&part=busiest&part=letters&samples")
	if err != nil {
		return ended(ctx, err)
	}
	defer body.Close() //nolint:errcheck // read only
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for first := true; lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "data:") {
			continue
		}
		c.seen.Add(1)
		if first {
			first = false
			ready <- struct{}{}
		}
	}
	return ended(ctx, errors.Join(errors.New("the live overview has ended"), lines.Err()))
}

// search asks for pages of tenants, in an open model: a slow answer does not put off the next question.
func (c *consoles) search(ctx context.Context, ready chan<- struct{}) error {
	var asked errgroup.Group
	if err := c.page(ctx); err != nil {
		return ended(ctx, err)
	}
	ready <- struct{}{}
	c.mu.Lock()
	c.pages = nil // the first one makes what later ones use
	c.mu.Unlock()
	tick := time.NewTicker(pagesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return asked.Wait()
		case <-tick.C:
			asked.Go(func() error { return ended(ctx, c.page(ctx)) })
		}
	}
}

// page reads one page of tenants.
func (c *consoles) page(ctx context.Context) error {
	began := time.Now()
	body, err := c.get(ctx, "/tenants?q="+strconv.Itoa(rand.N(searched))) //nolint:gosec // no secret
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // read only
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages = append(c.pages, time.Since(began))
	return nil
}

func (c *consoles) get(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.addr+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", path, answer.Status), answer.Body.Close())
	}
	return answer.Body, nil
}

// close closes the consoles, and returns how long their pages took, sorted. An error is that of a console which did not
// work until then.
func (c *consoles) close() ([]time.Duration, error) {
	c.stop()
	err := c.g.Wait()
	c.http.CloseIdleConnections()
	slices.Sort(c.pages)
	return c.pages, err
}

// ended is err, unless the console was closed.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was to end
	}
	return err
}
