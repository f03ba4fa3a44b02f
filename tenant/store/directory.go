package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"arrakis/tenant"
)

// MaxDirectory is how many IDs a [Directory] keeps. A million IDs of usual length take about 50 MB.
const MaxDirectory = 1_000_000

const (
	directoryEvery = 30 * time.Second       // between two walks over the keys
	directoryIdle  = 10 * time.Minute       // after the last search, until the IDs are forgotten
	directoryPause = 100 * time.Millisecond // in which changes gather, because applying them may copy the list
	walkCount      = 1000                   // keys that one SCAN visits
	walkPause      = 4                      // times as long as a SCAN of a slow walk, or applying changes, took: until the next one
	maxChanged     = 10_000                 // IDs that wait to be looked at; after more, everything is read again
	maxRecent      = 100_000                // IDs that were looked at during a walk; after more, it is made again
)

// errDirectoryEnded means that Run has returned.
var errDirectoryEnded = errors.New("the directory of tenants has ended")

// Directory knows the IDs of all stored configs, so that they can be searched, and shown page by page in order, in a few
// milliseconds. It keeps them in memory while it is used. The first search waits for a walk over all keys of Redis by
// SCAN. From then on the list follows the events given to Changed within a moment. Every 30 s the keys are walked again,
// slowly, for what the events have missed. Ten minutes after the last search the list is forgotten. Its methods are safe
// for concurrent use.
type Directory struct {
	// Set by NewDirectory, read-only.
	store *Store
	every time.Duration
	wake  chan struct{} // holds one item while Run has something to do

	known atomic.Pointer[listing] // written by Run; nil: not read yet, or forgotten
	asked atomic.Int64            // unix ns of the last search

	// Owned by the goroutine of Run: IDs that were looked at since the walk began, and whether they are stored.
	recent map[string]bool

	mu      sync.Mutex          // protects the fields below
	changed map[string]struct{} // IDs to look at; nil while there is no list that could be out of date
	all     bool                // walk again, now
	first   *firstWalk          // what searches wait for while there is no list
}

// firstWalk is a walk that searches wait for.
type firstWalk struct {
	done chan struct{} // closed by Run
	err  error         // set before done is closed
}

// NewDirectory makes a directory of the configs of s. It reads nothing before the first search.
func NewDirectory(s *Store) *Directory {
	return &Directory{store: s, every: directoryEvery, wake: make(chan struct{}, 1), first: newFirstWalk()}
}

func newFirstWalk() *firstWalk { return &firstWalk{done: make(chan struct{})} }

// DirectoryPage is a part of the tenants whose ID contains a text.
type DirectoryPage struct {
	Entries []Entry // sorted by ID
	After   string  // what to ask the next page with; empty on the last page
	Matches int     // how many IDs contain the text
	Tenants int     // how many IDs there are
	More    bool    // Redis has more configs than the directory keeps; some are not found
}

// Search returns up to limit tenants, at most [MaxListLimit], whose ID contains text, whatever the case of its letters.
// after is the After of the page before, "" for the first page. The documents are read at this moment; a config that is
// gone is left out. Errors are those of Redis and ctx.
func (d *Directory) Search(ctx context.Context, text, after string, limit int) (DirectoryPage, error) {
	l, err := d.listing(ctx)
	if err != nil {
		return DirectoryPage{}, fmt.Errorf("search tenants: %w", err)
	}
	ids, matches, more := l.find(text, after, min(max(limit, 1), MaxListLimit))
	page := DirectoryPage{Matches: matches, Tenants: len(l.ids), More: l.more}
	if more {
		page.After = ids[len(ids)-1]
	}
	if page.Entries, err = d.store.entries(ctx, ids); err != nil {
		return DirectoryPage{}, fmt.Errorf("search tenants: %w", err)
	}
	return page, nil
}

// listing returns the list. It waits for the first one.
func (d *Directory) listing(ctx context.Context) (*listing, error) {
	d.asked.Store(time.Now().UnixNano())
	if l := d.known.Load(); l != nil {
		return l, nil
	}
	d.mu.Lock()
	first := d.first
	d.mu.Unlock()
	if l := d.known.Load(); l != nil { // first may be the one after the walk that made this list
		return l, nil
	}
	d.wakeUp()
	select {
	case <-first.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := d.known.Load(); l != nil {
		return l, nil
	}
	return nil, cmp.Or(first.err, errDirectoryEnded)
}

// Changed tells the directory that configs may have been created or deleted. It never waits.
func (d *Directory) Changed(ev tenant.Event) {
	d.mu.Lock()
	follows := d.changed != nil
	switch {
	case !follows:
	case ev.Type == tenant.GlobalChanged, ev.Type == tenant.TenantChanged && len(d.changed) >= maxChanged:
		d.all = true
	case ev.Type == tenant.TenantChanged:
		d.changed[ev.TargetID] = struct{}{}
	}
	d.mu.Unlock()
	if follows {
		d.wakeUp()
	}
}

func (d *Directory) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default: // it is told already
	}
}

// Run keeps the list until ctx ends, and then returns nil. A search before Run waits, and one after it fails. Call Run
// once.
func (d *Directory) Run(ctx context.Context) error {
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.first.done) // and stays, for all that come later
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
			d.serve(ctx)
		}
	}
}

// serve reads the list and keeps it while it is used. If the first walk fails, searches get its error.
func (d *Directory) serve(ctx context.Context) {
	if d.idle() {
		return // woken by what was on its way when the list was forgotten
	}
	d.follow(true)
	defer d.follow(false)
	l, err := d.walk(ctx, false)
	if err == nil {
		d.known.Store(l)
	}
	d.answer(err)
	defer d.known.Store(nil)
	for err == nil && ctx.Err() == nil && !d.idle() {
		d.pass(ctx, d.every, true)
		_ = d.readSlowly(ctx) // after an error the list stays, and the next walk is soon enough
	}
}

// readSlowly replaces the list by what a slow walk finds, and what events have told meanwhile.
func (d *Directory) readSlowly(ctx context.Context) error {
	l, err := d.walk(ctx, true)
	if err == nil {
		d.known.Store(l.with(d.recent))
	}
	return err
}

func (d *Directory) idle() bool {
	return time.Since(time.Unix(0, d.asked.Load())) > directoryIdle
}

// follow begins or ends to collect changes.
func (d *Directory) follow(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed, d.all = nil, false
	if on {
		d.changed = make(map[string]struct{})
	}
}

// answer ends the wait of the searches for the first list.
func (d *Directory) answer(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first.err = err
	close(d.first.done)
	d.first = newFirstWalk()
}

// pass lets time pass, and applies the changes that come meanwhile. If early is true, it returns when everything must be
// read again.
func (d *Directory) pass(ctx context.Context, pause time.Duration, early bool) {
	end := time.NewTimer(pause)
	defer end.Stop()
	for !early || !d.everything() {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-d.wake:
		}
		began := time.Now()
		d.apply(ctx)
		// A second change in a row has to wait, because a change copies the list, which takes some 0.1 s for a million.
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(directoryPause, walkPause*time.Since(began))):
		}
	}
}

func (d *Directory) readAgain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = true
}

// everything reports whether everything must be read again.
func (d *Directory) everything() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

// apply looks at the IDs that have changed.
func (d *Directory) apply(ctx context.Context) {
	d.mu.Lock()
	ids := make([]string, 0, len(d.changed))
	for id := range d.changed {
		ids = append(ids, id)
	}
	clear(d.changed)
	d.mu.Unlock()
	stored := make(map[string]bool, len(ids))
	for part := range slices.Chunk(ids, MaxListLimit) {
		texts, err := d.store.texts(ctx, keysOf(configPrefix, part))
		if err != nil {
			d.readAgain()
			return
		}
		for i, id := range part {
			stored[id] = texts[i] != nil
			d.recent[id] = stored[id]
		}
	}
	if len(d.recent) > maxRecent {
		d.readAgain()
		clear(d.recent)
	}
	d.known.Store(d.known.Load().with(stored))
}

// walk reads the IDs of all stored configs. A slow walk leaves most of the time to others, and applies the changes that
// come meanwhile.
func (d *Directory) walk(ctx context.Context, slow bool) (*listing, error) {
	d.mu.Lock()
	d.all = false
	d.mu.Unlock()
	d.recent = make(map[string]bool)
	nodes, err := d.store.nodes(ctx)
	if err != nil {
		return nil, err
	}
	before := d.known.Load()
	if before == nil {
		before = new(listing)
	}
	ids := make([]string, 0, len(before.ids)+walkCount)
	for _, n := range nodes {
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			began := time.Now()
			var keys []string
			if keys, cursor, err = n.rdb.Scan(ctx, cursor, configPrefix+"*", walkCount).Result(); err != nil {
				return nil, err
			}
			for _, key := range keys {
				if id := strings.TrimPrefix(key, configPrefix); tenant.ValidID(id) && len(ids) <= MaxDirectory {
					ids = append(ids, before.own(id))
				}
			}
			if slow {
				d.pass(ctx, walkPause*time.Since(began), false)
			}
		}
	}
	return newListing(ids), nil
}
