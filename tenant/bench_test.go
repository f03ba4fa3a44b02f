package tenant_test

import (
	"testing"
	"time"
	"unsafe"

	"arrakis/tenant"
)

// A tenant is held for every active community.
func TestTenantIsSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(tenant.Tenant{}); size > 176 {
		t.Errorf("a Tenant takes %d bytes, want 176 at most", size)
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

func BenchmarkFlagOn(b *testing.B) {
	share := 50.0
	f := tenant.Flag{ID: "f", Enabled: true, Tiers: []tenant.Tier{tenant.Pro}, RolloutPercent: &share}
	who := &tenant.Tenant{ID: "comm_001", Tier: tenant.Pro}
	b.ReportAllocs()
	for b.Loop() {
		f.On(who)
	}
}

func BenchmarkResolve(b *testing.B) {
	c, err := tenant.ParseConfig([]byte(fullConfig))
	if err != nil {
		b.Fatal(err)
	}
	tiers, err := tenant.ParseTiers([]byte(`{"pro":{"rateLimits":{"commandsPerMinute":200},"onLimit":"delay"}}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tenant.Resolve("comm_1", tenant.Documents{Config: &c, Tiers: &tiers}, time.Time{})
	}
}
