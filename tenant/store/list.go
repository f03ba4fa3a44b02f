package store

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

const (
	// MaxListLimit is the largest page of a List.
	MaxListLimit = 1000

	maxScans  = 100     // SCANs for one page; after them the page ends even if it is not full
	minCount  = 8       // keys that one SCAN visits
	maxRest   = 16      // IDs that a cursor carries
	maxCursor = 4 << 10 // bytes of a cursor
)

// ErrCursor means that List did not make the cursor, or that the Redis node of the cursor is gone. List again from the
// start.
var ErrCursor = errors.New("cursor is not valid; list again from the start")

// ListOptions select a page. The zero value selects the first page.
type ListOptions struct {
	// Cursor is the cursor that the previous page returned. Empty means the first page.
	Cursor string
	// Limit bounds the entries of the page, up to MaxListLimit. Defaults to 100.
	Limit int
}

// Entry is a stored config.
type Entry struct {
	ID      string // ID under which the config is stored
	Config  tenant.Config
	Account *tenant.Account // that the config names, as it is in force; nil: it names none, or there is none
	Version Version
	Err     error // a *StoredError when the document cannot be used
}

// Page is a part of the stored configs.
type Page struct {
	Entries []Entry // sorted by ID
	Cursor  string  // cursor of the next page; empty on the last page
}

// listCursor says where the next page starts.
type listCursor struct {
	Node  string   `json:"n,omitempty"` // on Cluster, the address of the master to scan
	Scan  uint64   `json:"s,omitzero"`  // SCAN cursor of that node
	After string   `json:"a,omitempty"` // skip the IDs of that SCAN up to this one
	Rest  []string `json:"r,omitempty"` // IDs of the previous SCAN that did not fit on the page
	Done  bool     `json:"d,omitzero"`  // all nodes have been scanned
}

// List returns a page of the stored configs. It walks the keys of Redis by SCAN and has the guarantees of SCAN. A
// config that exists from the first page to the last is found. A config that is added or deleted in the meantime may be
// found or not. A config may be found on two pages. Each page is a bounded part of the walk, so a page may be short, or
// even empty, although more pages follow. Errors: [ErrCursor].
func (s *Store) List(ctx context.Context, opts ListOptions) (Page, error) {
	ids, cursor, err := s.ids(ctx, configPrefix, opts)
	if err != nil {
		return Page{}, fmt.Errorf("list tenants: %w", err)
	}
	entries, err := s.entries(ctx, ids)
	if err != nil {
		return Page{}, fmt.Errorf("list tenants: %w", err)
	}
	return Page{entries, cursor}, nil
}

// ids returns a page of the IDs that follow prefix in the keys of Redis, sorted, and the cursor of the next page.
func (s *Store) ids(ctx context.Context, prefix string, opts ListOptions) (ids []string, cursor string, err error) {
	at, err := parseCursor(opts.Cursor)
	if err != nil {
		return nil, "", err
	}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, "", err
	}
	w := walk{nodes: nodes, prefix: prefix, at: at, limit: min(cmp.Or(max(opts.Limit, 0), 100), MaxListLimit)}
	if err := w.run(ctx); err != nil {
		return nil, "", err
	}
	slices.Sort(w.ids)
	if w.at.more() {
		cursor, err = w.at.encode()
	}
	return slices.Compact(w.ids), cursor, err
}

// entries reads the configs of ids, which are sorted, and their accounts. It leaves out configs that no longer exist.
func (s *Store) entries(ctx context.Context, ids []string) ([]Entry, error) {
	texts, err := s.texts(ctx, keysOf(configPrefix, ids))
	if err != nil {
		return nil, err
	}
	return s.entriesOf(ctx, ids, texts)
}

// entriesOf is entries for texts that are read already, of which those of configs that no longer exist are nil.
func (s *Store) entriesOf(ctx context.Context, ids []string, texts []*string) ([]Entry, error) {
	entries := make([]Entry, 0, len(ids))
	configs := make([]*tenant.Config, 0, len(ids))
	for i, text := range texts {
		if text == nil {
			continue
		}
		stored := storedIn(*text)
		e := Entry{ID: ids[i], Version: stored.Version}
		if c, err := tenant.ParseStored[tenant.Config]([]byte(stored.Text)); err != nil {
			e.Err = &StoredError{Key: configPrefix + e.ID, Err: err}
		} else {
			e.Config = c
		}
		entries, configs = append(entries, e), append(configs, &e.Config)
	}
	accounts := s.accountsOf(ctx, configs, nil)
	for i := range entries {
		read := accounts[entries[i].Config.Account]
		if read.err != nil {
			return nil, read.err
		}
		entries[i].Account = read.account
	}
	return entries, nil
}

// node is a Redis server with its own part of the keys.
type node struct {
	addr string // empty if there is only one
	rdb  redis.Cmdable
}

// nodes are the servers to scan, sorted by address.
func (s *Store) nodes(ctx context.Context) ([]node, error) {
	cluster, ok := s.rdb.(*redis.ClusterClient)
	if !ok {
		return []node{{rdb: s.rdb}}, nil
	}
	var mu sync.Mutex // protects nodes
	var nodes []node
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node{addr: c.Options().Addr, rdb: c})
		return nil
	})
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.addr, b.addr) })
	return nodes, err
}

// walk collects the IDs of one page.
type walk struct {
	nodes  []node
	prefix string     // of the keys
	at     listCursor // where the walk continues
	limit  int
	ids    []string
}

// run fills the page. It scans one node after the other.
func (w *walk) run(ctx context.Context) error {
	n := slices.IndexFunc(w.nodes, func(n node) bool { return w.at.Node == "" || n.addr == w.at.Node })
	if n < 0 {
		return ErrCursor
	}
	w.take(w.at.Rest)
	for scans := 0; !w.at.Done && len(w.ids) < w.limit && scans < maxScans; scans++ {
		w.at.Node = w.nodes[n].addr
		ids, next, err := w.scan(ctx, w.nodes[n].rdb)
		if err != nil {
			return err
		}
		if room := w.limit - len(w.ids); len(ids) > room+maxRest {
			w.ids = append(w.ids, ids[:room]...)
			w.at.After = ids[room-1]
			return nil
		}
		w.take(ids)
		w.at.Scan, w.at.After = next, ""
		if next == 0 {
			n++
			w.at.Done = n == len(w.nodes)
		}
		if !w.at.Done {
			w.at.Node = w.nodes[n].addr
		}
	}
	return nil
}

// take puts ids on the page. IDs that do not fit go into the cursor.
func (w *walk) take(ids []string) {
	n := min(len(ids), w.limit-len(w.ids))
	w.ids = append(w.ids, ids[:n]...)
	w.at.Rest = ids[n:]
}

// scan makes one SCAN for as many keys as the page has room for. A server may return more keys. The cursor carries a
// few extra IDs in Rest. An embedded server returns all its keys at once; then the next page repeats the SCAN and skips
// the IDs up to After.
func (w *walk) scan(ctx context.Context, rdb redis.Cmdable) (ids []string, next uint64, err error) {
	count := max(w.limit-len(w.ids), minCount)
	keys, next, err := rdb.Scan(ctx, w.at.Scan, w.prefix+"*", int64(count)).Result()
	if err != nil {
		return nil, 0, err
	}
	for _, key := range keys {
		id := strings.TrimPrefix(key, w.prefix)
		if tenant.ValidID(id) && id > w.at.After {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, next, nil
}

// more reports whether another page follows.
func (c *listCursor) more() bool { return !c.Done || len(c.Rest) > 0 }

func (c *listCursor) encode() (string, error) {
	text, err := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// parseCursor reads a cursor, which comes from a client and may be anything.
func parseCursor(s string) (listCursor, error) {
	var c listCursor
	if s == "" {
		return c, nil
	}
	if len(s) > maxCursor {
		return c, ErrCursor
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(text, &c, json.RejectUnknownMembers(true)) != nil {
		return c, ErrCursor
	}
	if len(c.Rest) > maxRest || slices.ContainsFunc(c.Rest, func(id string) bool { return !tenant.ValidID(id) }) {
		return c, ErrCursor
	}
	return c, nil
}
