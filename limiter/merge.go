package limiter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	mergeIDs  = 1024 // admissions in one call of merge.lua, as the script allows
	mergeKeys = 64   // calls in one round trip
)

// merge is some of one key's admissions on their way to Redis.
type merge struct {
	scriptCall
	key     string // without the prefix
	limit   Limit
	entries []queued
}

// idle reports whether Run has nothing to do.
func (f *fallback) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queued == 0 && f.sent == 0 && !f.away.Load()
}

// setAway makes messages be decided without Redis. It reports whether that is a change.
func (f *fallback) setAway() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.away.Swap(true)
}

// flip makes messages ask Redis again, if nothing is left to be merged. It reports whether nothing is left, and whether
// Redis was away until now.
func (f *fallback) flip() (clean, was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queued > 0 {
		return false, false
	}
	return true, f.away.Swap(false)
}

// take takes up to mergeKeys times mergeIDs admissions off the queues. Each of them ends in landed or putBack.
func (f *fallback) take() []*merge {
	f.mu.Lock()
	defer f.mu.Unlock()
	var merges []*merge
	for key, w := range f.queues {
		if len(merges) == mergeKeys {
			break
		}
		n := min(len(w.queue), mergeIDs)
		merges = append(merges, &merge{key: key, limit: w.limit, entries: slices.Clone(w.queue[:n])})
		f.queued -= n
		f.sent += n
		if w.queue = w.queue[n:]; len(w.queue) == 0 {
			w.queue = nil
			delete(f.queues, key)
		}
	}
	return merges
}

// landed ends a merge that Redis took, or never will.
func (f *fallback) landed(m *merge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent -= len(m.entries)
}

// putBack returns admissions that could not be merged to the front of their key's queue, unless the key was forgotten
// in the meantime.
func (f *fallback) putBack(m *merge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent -= len(m.entries)
	w, ok := f.windows.Peek(m.key)
	if !ok {
		f.m.mergeDropped.Add(float64(len(m.entries)))
		return
	}
	w.queue = append(m.entries, w.queue...)
	f.queues[m.key] = w
	f.queued += len(m.entries)
}

// Run watches over Redis until ctx ends: while Redis is away it probes it, and when it is back it merges what was
// admitted meanwhile and lets messages ask it again. Without Run a Limiter that lost Redis stays degraded. It returns
// nil; its owner runs it once.
func (l *Limiter) Run(ctx context.Context) error {
	tick := time.NewTicker(l.o.ProbeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-tick.C:
		}
		if l.fallback.idle() {
			continue
		}
		done, err := l.breaker.Allow()
		if err != nil {
			continue // open since less than a probe interval
		}
		err = l.recover(ctx)
		if ctx.Err() != nil {
			err = errCallerGone
		}
		done(err)
		if err != nil {
			l.o.Logger.DebugContext(ctx, "redis probed", "err", err)
		}
	}
}

// recover probes Redis, merges until nothing is left, and flips. An error means that Redis is still away.
func (l *Limiter) recover(ctx context.Context) error {
	if err := l.probe(ctx); err != nil {
		return err
	}
	var total int64
	for {
		added, err := l.mergeRound(ctx)
		total += added
		if err != nil {
			return err
		}
		if clean, was := l.fallback.flip(); clean {
			if was {
				l.m.degraded.Set(0)
				l.o.Logger.WarnContext(ctx, "redis is back, limits are exact again", "merged", total)
			}
			return nil
		}
	}
}

// probe asks whether Redis takes writes, without writing: ZADD XX adds no member. A cluster must have all its masters.
func (l *Limiter) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	if cluster, ok := l.rdb.(*redis.ClusterClient); ok {
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() })
		if err != nil {
			return fmt.Errorf("ping masters: %w", err)
		}
	}
	if err := l.rdb.ZAddXX(ctx, l.o.Prefix+"probe", redis.Z{Member: "probe"}).Err(); classify(err) == faultAway {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// mergeRound merges one round trip's worth of admissions and returns how many were new to Redis. What Redis did not take
// is queued again. The error says that Redis is away.
func (l *Limiter) mergeRound(ctx context.Context) (added int64, away error) {
	merges := l.fallback.take()
	if len(merges) == 0 {
		return 0, nil
	}
	now := l.sinceStart(l.now())
	clock := l.clockArg()
	calls := make([]*scriptCall, 0, len(merges))
	for _, m := range merges {
		m.prepare(mergeScript, l.o.Prefix+m.key)
		m.args = append(m.args, m.limit.Window.Milliseconds(), clock)
		for _, q := range m.entries {
			m.args = append(m.args, strconv.FormatInt((now-q.at).Milliseconds(), 10), q.id)
		}
		calls = append(calls, &m.scriptCall)
	}
	l.exec(ctx, mergeScript, mergeSource, calls)
	for _, m := range merges {
		n, err := m.cmd.Int64()
		switch classify(err) {
		case faultNone:
			added += n
			l.fallback.landed(m)
		case faultAway:
			away = fmt.Errorf("merge %q: %w", m.key, err)
			l.fallback.putBack(m)
		case faultKey:
			l.fallback.landed(m)
			l.logKeyFault(ctx, m.key, err)
			l.m.mergeDropped.Add(float64(len(m.entries)))
		}
	}
	l.m.merged.Add(float64(added))
	return added, away
}
