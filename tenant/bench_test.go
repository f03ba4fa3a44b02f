package tenant_test

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// A tenant is held for every active community.
func TestTenantIsSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(tenant.Tenant{}); size > 160 {
		t.Errorf("a Tenant takes %d bytes, want 160 at most", size)
	}
}

func BenchmarkParseConfig(b *testing.B) {
	data := []byte(fullConfig)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tenant.ParseConfig(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	server := miniredis.RunT(b)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	b.Cleanup(func() { _ = rdb.Close() })
	s := tenant.NewStore(rdb, tenant.StoreOptions{})
	for _, n := range []int{1, 100} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("comm_%03d", i)
			if err := server.Set("tenant:config:"+ids[i], fullConfig); err != nil {
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

func BenchmarkFlagOn(b *testing.B) {
	share := 50.0
	f := tenant.Flag{ID: "f", Enabled: true, Tiers: []tenant.Tier{tenant.Pro}, RolloutPercent: &share}
	who := &tenant.Tenant{ID: "comm_001", Tier: tenant.Pro}
	b.ReportAllocs()
	for b.Loop() {
		f.On(who)
	}
}
