package redishealth

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// EveryKey is the name of the node that owns all keys: a single server, or a Cluster of which no node was seen yet.
const EveryKey = "all"

// node is a server that has failed lately. A node that works has no record.
type node struct {
	failures int // round trips that failed in a row
	away     bool
}

// allOwned is the owner of every key of a Redis that is not a Cluster.
func allOwned(string) string { return EveryKey }

// ended is a context that has ended. With it, a client tells what it knows and cannot ask a server.
var ended = func() context.Context {
	ctx, end := context.WithCancel(context.Background())
	end()
	return ctx
}()

// ownerIn returns the function that returns the address of the node of a Cluster that owns a key. It tells from what
// the client knows, and asks nobody.
//
//nolint:contextcheck,nolintlint // no caller's context is needed, because no server is asked
func ownerIn(cluster *redis.ClusterClient) func(key string) string {
	return func(key string) string {
		master, err := cluster.MasterForKey(ended, key)
		if err != nil {
			return EveryKey // the client has seen no node yet
		}
		return master.Options().Addr
	}
}

// awayNodes is the set of nodes that are away. It is replaced, never changed.
type awayNodes map[string]bool

// Away reports whether a node is away.
func (h *Health) Away() bool { return h.away.Load() != nil }

// KeyAway reports whether the node that owns the key is away, so that nobody may ask for the key. The key is the whole
// key in Redis. While no node is away, it costs next to nothing.
func (h *Health) KeyAway(key string) bool {
	away := h.away.Load()
	if away == nil {
		return false
	}
	return (*away)[EveryKey] || (*away)[h.owner(key)]
}

// Nodes returns the names of the nodes that are away, sorted: addresses on a Cluster, or "all".
func (h *Health) Nodes() []string {
	away := h.away.Load()
	if away == nil {
		return nil
	}
	names := make([]string, 0, len(*away))
	for name := range *away {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// setAwayLocked makes a node count as away. The caller must hold h.mu.
func (h *Health) setAwayLocked(n *node) {
	n.away = true
	h.publishLocked()
}

// forgetLocked removes a node's record, so that the node counts as one that works. The caller must hold h.mu.
func (h *Health) forgetLocked(name string) {
	n := h.nodes[name]
	delete(h.nodes, name)
	h.troubled.Store(int64(len(h.nodes)))
	if n.away {
		h.publishLocked()
	}
}

// publishLocked publishes the set of nodes that are away, after it has changed. The caller must hold h.mu.
func (h *Health) publishLocked() {
	h.changes.Add(1)
	away := awayNodes{}
	for name, n := range h.nodes {
		if n.away {
			away[name] = true
		}
	}
	if len(away) == 0 {
		h.away.Store(nil)
		return
	}
	h.away.Store(&away)
}

// probeTries is how many keys are tried to find one that a node owns.
const probeTries = 4096

// probeKey returns a key that the node owns, for a probe. It returns false if the node owns none: it is no master any
// more.
func (h *Health) probeKey(name string) (string, bool) {
	if name == EveryKey {
		return h.o.ProbeKey, true
	}
	for i := range probeTries {
		if key := h.o.ProbeKey + strconv.Itoa(i); h.owner(key) == name {
			return key, true
		}
	}
	return "", false
}

// obeysContext reports whether the client ends a round trip at its context's deadline.
func obeysContext(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	default:
		return true // unknown
	}
}
