package idempotency

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// BenchmarkRequest is what a request with an event ID costs beside one without: it is looked up, and its answer kept.
func BenchmarkRequest(b *testing.B) {
	rdb := testserver.Redis(b).Client(b)
	health, err := redishealth.New(rdb, redishealth.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(rdb, Options{Health: health})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); s.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	var n atomic.Int64
	b.SetParallelism(64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := n.Add(1)
			k := Key{Community: "comm_" + strconv.FormatInt(id%100, 10), Route: "command", EventID: strconv.FormatInt(id, 10)}
			<-s.Begin(ctx, k, first).Mark.Keep(ctx, pong)
		}
	})
	b.ReportMetric(float64(roundTrips(b, s))/float64(b.N), "trips/op")
}
