package limiter

import (
	"context"
	"slices"
	"strconv"
	"time"

	"arrakis/limiter/redisscript"
)

// After an outage everything waits at once. These bounds keep Redis from being busy with merges for so long that round
// trips time out.
const (
	mergeIDs   = 4096 // admissions in one round trip
	mergeTrips = 4    // round trips of merges at the same time
)

// merge is a part of one key's queue on its way to Redis. The queue keeps it until Redis has taken it. Redis may get a
// part several times, from several shards or because an answer was lost; it takes an ID once.
type merge struct {
	redisscript.Call
	key    string // without the prefix
	window *keyWindow
	limit  Limit
	part   []queued
}

// take returns the oldest admissions of the keys that wait, for one round trip. The caller must call merged for all of
// them.
func (f *fallback) take(keys []string, now time.Duration) []*merge {
	f.mu.Lock()
	defer f.mu.Unlock()
	var merges []*merge
	room := mergeIDs
	for _, key := range keys {
		w, ok := f.waiting[key]
		if !ok {
			continue
		}
		f.trimQueueLocked(key, w, now)
		for part := range slices.Chunk(w.queue, callIDs(w.limit)) {
			if room < len(part) {
				return merges
			}
			room -= len(part)
			w.merging++
			merges = append(merges, &merge{key: key, window: w, limit: w.limit, part: slices.Clone(part)})
		}
	}
	return merges
}

// merged ends a merge. If it is done, its admissions leave the queue: Redis has taken them, or never will.
func (f *fallback) merged(m *merge, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.window.merging--
	w, ok := f.windows.Peek(m.key)
	if !ok || !done {
		return
	}
	last := m.part[len(m.part)-1].serial
	n := 0
	for n < len(w.queue) && w.queue[n].serial <= last {
		n++
	}
	f.shortenLocked(m.key, w, n)
}

// waitingKeys returns the keys that have admissions to be merged.
func (f *fallback) waitingKeys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := make([]string, 0, len(f.waiting))
	for key := range f.waiting {
		keys = append(keys, key)
	}
	return keys
}

// Run recovers from outages until ctx ends. It probes the nodes that are away; without Run they stay away. It merges
// the admissions of keys that get no further message; those of other keys are merged before their next question. Run
// returns nil. The Limiter's owner calls Run once.
func (l *Limiter) Run(ctx context.Context) error {
	tick := time.NewTicker(l.health.ProbeInterval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-tick.C:
			l.health.Recover(ctx)
			l.sweep(ctx)
		}
		l.mergeWaiting(ctx)
	}
}

// mergeWaiting merges all admissions that wait for a node that is not away. What fails waits for the next time.
func (l *Limiter) mergeWaiting(ctx context.Context) {
	if l.fallback.unmerged.Load() == 0 {
		return
	}
	keys := slices.DeleteFunc(l.fallback.waitingKeys(), func(key string) bool { return l.health.KeyAway(l.o.Prefix + key) })
	added, _, err := l.mergeKeys(ctx, keys)
	if added > 0 {
		l.o.Logger.InfoContext(ctx, "admissions made without redis are merged", "added", added)
	}
	if err != nil {
		l.o.Logger.DebugContext(ctx, "merge ended", "err", err)
	}
}

// mergeOpen merges the admissions of the open calls' keys. It sets the error of each call whose key could not be
// merged, and clears that of all others. An error is ctx's.
//
// This is a round trip of its own, and not a part of the question's pipeline: a client may repeat a single command of a
// pipeline (a script that the server does not know, a slot that moves, a server that is loading), and then the question
// could come before the merge.
func (l *Limiter) mergeOpen(ctx context.Context, r *round) error {
	for _, c := range r.open {
		c.err = nil
	}
	if l.fallback.unmerged.Load() == 0 {
		return nil
	}
	keys := make([]string, len(r.open))
	for i, c := range r.open {
		keys[i] = c.window.key
	}
	slices.Sort(keys)
	_, failed, err := l.mergeKeys(ctx, slices.Compact(keys)) // a key may have several calls
	for _, c := range r.open {
		c.err = failed[c.window.key]
	}
	return err
}

// mergeKeys merges the admissions of the keys that wait. It returns how many were new to Redis, and the server's error
// for each key that could not be merged. An error is ctx's.
func (l *Limiter) mergeKeys(ctx context.Context, keys []string) (added int64, failed map[string]error, err error) {
	for len(keys) > 0 && l.fallback.unmerged.Load() > 0 {
		n, fails, more, err := l.mergeSome(ctx, keys)
		added += n
		if err != nil || !more {
			return added, failed, err
		}
		if len(fails) > 0 {
			if failed == nil {
				failed = fails
			}
			for key, err := range fails {
				failed[key] = err
			}
			keys = slices.DeleteFunc(keys, func(key string) bool { return fails[key] != nil })
		}
	}
	return added, failed, nil
}

// mergeSome waits for its turn and makes one round trip. It returns what mergeKeys does, and false if nothing waited.
func (l *Limiter) mergeSome(ctx context.Context, keys []string) (added int64, failed map[string]error, more bool, err error) {
	select {
	case l.turns <- struct{}{}:
		defer func() { <-l.turns }()
	case <-ctx.Done():
		return 0, nil, false, ctx.Err()
	}
	merges := l.fallback.take(keys, l.sinceStart(l.now()))
	if len(merges) == 0 {
		return 0, nil, false, nil
	}
	added, failed, err = l.mergeOnce(ctx, merges)
	return added, failed, true, err
}

// mergeOnce makes one round trip of merges. It returns what mergeKeys does.
func (l *Limiter) mergeOnce(ctx context.Context, merges []*merge) (added int64, failed map[string]error, err error) {
	now := l.sinceStart(l.now())
	clock := l.clockArg()
	calls := make([]*redisscript.Call, 0, len(merges))
	for _, m := range merges {
		m.Prepare(l.scripts.merge, l.o.Prefix+m.key, limitArg(m.limit), m.limit.Window.Milliseconds(), clock)
		for _, q := range m.part {
			m.Append(strconv.FormatInt((now-q.at).Milliseconds(), 10), q.id)
		}
		calls = append(calls, &m.Call)
	}
	failed = make(map[string]error)
	err = redisscript.Run(ctx, l.rdb, l.health, calls)
	for _, m := range merges {
		if m.Cmd == nil { // not sent
			failed[m.key] = err
		} else if err := m.Cmd.Err(); err != nil && !unusable(err) {
			failed[m.key] = err
		}
	}
	for _, m := range merges {
		if failed[m.key] != nil { // a part of the key failed: this one comes again
			l.fallback.merged(m, false)
			continue
		}
		l.fallback.merged(m, true)
		n, err := m.Cmd.Int64()
		if err != nil {
			l.logUnusable(ctx, m.key, err)
			l.m.mergeDropped.Add(float64(len(m.part)))
		}
		added += n
	}
	l.m.merged.Add(float64(added))
	return added, failed, err
}
