package redishealth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Recover probes each node that is away. A node that takes writes counts as back, and so does one that owns no keys any
// more, because another has taken them over. The caller calls Recover every ProbeInterval. It does nothing while no
// node has failed lately.
func (h *Health) Recover(ctx context.Context) {
	if h.troubled.Load() == 0 {
		return
	}
	if h.cluster != nil {
		h.cluster.ReloadState(ctx) // in the background: the next probe knows who owns which slot
	}
	var wg sync.WaitGroup
	for name, away := range h.failing() {
		key, owns := h.probeKey(name)
		switch {
		case !owns:
			h.back(ctx, name, "owns no keys any more")
		case away:
			wg.Go(func() {
				if err := h.probe(ctx, name, key); err != nil {
					h.o.Logger.DebugContext(ctx, "redis probed", "node", name, "err", err)
					return
				}
				h.back(ctx, name, "takes writes")
			})
		}
	}
	wg.Wait()
}

// failing returns the nodes that failed last time, and whether each counts as away.
func (h *Health) failing() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	nodes := make(map[string]bool, len(h.nodes))
	for name, n := range h.nodes {
		nodes[name] = n.away
	}
	return nodes
}

// back forgets that the node has failed.
func (h *Health) back(ctx context.Context, name, reason string) {
	h.mu.Lock()
	n := h.nodes[name]
	if n != nil {
		h.forgetLocked(name)
	}
	h.mu.Unlock()
	if n != nil && n.away {
		h.o.Logger.WarnContext(ctx, "redis is back, limits are exact again", "node", name, "reason", reason)
	}
}

// probe tests whether the node that owns the key takes writes. It changes nothing: ZADD XX adds no member. Of a Cluster
// of which no node was seen yet, one must answer.
func (h *Health) probe(ctx context.Context, name, key string) error {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	if h.cluster != nil && name == EveryKey {
		if _, err := h.cluster.MasterForKey(ctx, key); err != nil {
			return fmt.Errorf("find a node: %w", err)
		}
		return nil
	}
	err := h.rdb.ZAddXX(ctx, key, redis.Z{Member: "probe"}).Err()
	var reply redis.Error
	if err == nil || errors.As(err, &reply) && !saysUnable(reply) { // a server that refuses only this key takes writes
		return nil
	}
	return fmt.Errorf("probe: %w", err)
}
