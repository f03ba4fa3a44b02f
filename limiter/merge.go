package limiter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"arrakis/limiter/redishealth"
)

// mergeKeys is how many calls of merge.lua go in one round trip.
const mergeKeys = 64

// merge is a part of one key's admissions on its way to Redis.
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
	return f.queued == 0 && f.merging == 0 && !f.health.Away()
}

// backIfMerged makes messages ask Redis again if all admissions are merged. It reports whether all are merged, and
// whether Redis was away until now.
func (f *fallback) backIfMerged() (merged, was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queued > 0 {
		return false, false
	}
	return true, f.health.Back()
}

// takeBatch removes the oldest admissions of up to mergeKeys keys from the queues. The caller must call ended or requeue
// for each merge.
func (f *fallback) takeBatch() []*merge {
	f.mu.Lock()
	defer f.mu.Unlock()
	var merges []*merge
	for key, w := range f.queues {
		if len(merges) == mergeKeys {
			break
		}
		n := min(len(w.queue), callIDs(w.limit))
		merges = append(merges, &merge{key: key, limit: w.limit, entries: slices.Clone(w.queue[:n])})
		f.queued -= n
		f.merging += n
		if w.queue = w.queue[n:]; len(w.queue) == 0 {
			w.queue = nil
			delete(f.queues, key)
		}
	}
	return merges
}

// ended ends a merge that Redis has taken, or that can never succeed.
func (f *fallback) ended(m *merge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.merging -= len(m.entries)
}

// requeue puts the admissions of a failed merge back to the front of their key's queue, to be merged later. If the key
// has been forgotten in the meantime, the admissions are dropped.
func (f *fallback) requeue(m *merge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.merging -= len(m.entries)
	w, ok := f.windows.Peek(m.key)
	if !ok {
		f.m.mergeDropped.Add(float64(len(m.entries)))
		return
	}
	w.queue = append(m.entries, w.queue...)
	f.queues[m.key] = w
	f.queued += len(m.entries)
}

// Run recovers from outages until ctx ends. While Redis is away, Run probes Redis. When Redis is back, Run merges the
// admissions of the outage and lets messages ask Redis again. Without Run, a Limiter that lost Redis stays degraded.
// Run returns nil. The Limiter's owner calls Run once.
func (l *Limiter) Run(ctx context.Context) error {
	tick := time.NewTicker(l.health.ProbeInterval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-tick.C:
		}
		if !l.fallback.idle() {
			_ = l.health.Recover(ctx, l.mergeAll) // Recover has logged the error; the next tick tries again
		}
	}
}

// mergeAll merges all admissions, and then makes messages ask Redis again. An error is the server's.
func (l *Limiter) mergeAll(ctx context.Context) error {
	var total int64
	for {
		added, err := l.mergeRound(ctx)
		total += added
		if err != nil {
			return err
		}
		if merged, was := l.fallback.backIfMerged(); merged {
			if was {
				l.o.Logger.WarnContext(ctx, "redis is back, limits are exact again", "merged", total)
			}
			return nil
		}
	}
}

// mergeRound merges the admissions of one round trip and returns how many were new to Redis. If the server failed, the
// admissions that it did not take are queued again, and the error says why.
func (l *Limiter) mergeRound(ctx context.Context) (added int64, failed error) {
	merges := l.fallback.takeBatch()
	if len(merges) == 0 {
		return 0, nil
	}
	now := l.sinceStart(l.now())
	clock := l.clockArg()
	calls := make([]*scriptCall, 0, len(merges))
	for _, m := range merges {
		m.prepare(l.scripts.merge, l.o.Prefix+m.key)
		m.args = append(m.args, m.limit.Max, m.limit.Window.Milliseconds(), clock)
		for _, q := range m.entries {
			m.args = append(m.args, strconv.FormatInt((now-q.at).Milliseconds(), 10), q.id)
		}
		calls = append(calls, &m.scriptCall)
	}
	bounded, cancel := context.WithTimeout(ctx, l.health.Timeout())
	l.exec(bounded, l.scripts.merge, calls)
	cancel()
	for _, m := range merges {
		switch n, err := m.cmd.Int64(); {
		case err == nil:
			added += n
			l.fallback.ended(m)
		case redishealth.ServerFailed(err):
			failed = fmt.Errorf("merge %q: %w", m.key, err)
			l.fallback.requeue(m)
		default:
			l.fallback.ended(m)
			l.logUnusable(ctx, m.key, err)
			l.m.mergeDropped.Add(float64(len(m.entries)))
		}
	}
	l.m.merged.Add(float64(added))
	return added, failed
}
