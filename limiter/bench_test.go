package limiter

import (
	"fmt"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

func BenchmarkLocalReject(b *testing.B) {
	limit := Limit{Max: 10, Window: 24 * time.Hour}
	now := time.Now()
	w := fullWindow(limit, now)
	b.ReportAllocs()
	for b.Loop() {
		if _, full := w.Reject(limit, now); !full {
			b.Fatal("not rejected")
		}
	}
}

func BenchmarkAllowBatch(b *testing.B) {
	for _, keys := range []int{1, 8, 64} {
		for _, full := range []bool{true, false} {
			name := fmt.Sprintf("keys=%d/messages=256/full=%t", keys, full)
			b.Run(name, func(b *testing.B) { benchmarkAllowBatch(b, keys, full) })
		}
	}
}

// benchmarkAllowBatch admits in batches of 256 new IDs, or rejects them locally when the windows are full.
func benchmarkAllowBatch(b *testing.B, keys int, full bool) {
	b.Helper()
	l, err := New(testserver.Redis(b, onDisk...).Client(b), Options{})
	if err != nil {
		b.Fatal(err)
	}
	limit := Limit{Max: 10_000, Window: time.Second}
	windows := make([]*Window, keys)
	for i := range windows {
		windows[i] = NewWindow(fmt.Sprintf("comm_%03d:command", i))
		if full {
			limit = Limit{Max: 10, Window: 24 * time.Hour}
			windows[i] = fullWindow(limit, time.Now())
		}
	}
	batch := make([]*Request, 256)
	for i := range batch {
		batch[i] = &Request{Window: windows[i%keys], Limit: limit, ID: "event"}
	}
	serial := 0
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if !full {
			if n%32 == 31 { // before a window is full
				for i := range windows {
					windows[i].key = fmt.Sprintf("comm_%03d:%d", i, n)
				}
			}
			for _, r := range batch {
				serial++
				r.ID = fmt.Sprintf("0190163d-8694-739b-aea5-%012d", serial)
			}
		}
		if err := l.AllowBatch(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/message")
}

// BenchmarkMemory reports what one permit costs in Redis, with event IDs that are UUIDs.
func BenchmarkMemory(b *testing.B) {
	for _, permits := range []int{10, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("permits=%d", permits), func(b *testing.B) {
			rdb := testserver.Redis(b, onDisk...).Client(b)
			l, err := New(rdb, Options{})
			if err != nil {
				b.Fatal(err)
			}
			limit := Limit{Max: int64(permits), Window: 24 * time.Hour}
			for b.Loop() {
				ids := make([]string, permits)
				for i := range ids {
					ids[i] = fmt.Sprintf("0190163d-8694-739b-aea5-%012d", i)
				}
				if _, err := l.Allow(b.Context(), "k", limit, ids...); err != nil {
					b.Fatal(err)
				}
			}
			size, err := rdb.MemoryUsage(b.Context(), "ratelimit:k", 0).Result()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(size)/float64(permits), "B/permit")
		})
	}
}

func BenchmarkFallback(b *testing.B) {
	l, err := New(testserver.ConnectRedis(b, "127.0.0.1:1"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	lose(b, l)
	limit := Limit{Max: 100, Window: 24 * time.Hour}
	w := NewWindow("comm_007:command")
	req := []*Request{{Window: w, Limit: limit}}
	serial := 0
	b.ReportAllocs()
	for b.Loop() {
		serial++
		req[0].ID = fmt.Sprint(serial)
		if err := l.AllowBatch(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
