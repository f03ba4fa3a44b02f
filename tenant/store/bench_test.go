package store_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

func BenchmarkLoad(b *testing.B) {
	const config = `{"communityId":"comm_1","guildId":"123","tier":"pro",
 "features":{"customBranding":false,"advancedAnalytics":true,"prioritySupport":null},
 "rateLimits":{"commandsPerMinute":-1,"eligibilityChecksPerHour":0,"syncRequestsPerDay":1000000000,"userCommandsPerMinute":5},
 "createdAt":"2026-01-31T12:00:00Z","updatedAt":"2026-01-31T13:00:00.123Z"}`
	server := testserver.Miniredis(b)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	b.Cleanup(func() { _ = rdb.Close() })
	s := store.New(rdb, store.Options{})
	for _, n := range []int{1, 100} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("comm_%03d", i)
			if err := server.Set("tenant:config:"+ids[i], config); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("tenants=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Load(b.Context(), ids); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
