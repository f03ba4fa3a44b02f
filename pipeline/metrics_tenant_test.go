package pipeline

import (
	"context"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// tenantsBundle is the tenants' metrics alone, of a worker that knows the command stats.
type tenantsBundle struct {
	t       *testing.T
	metrics *tenantMetrics
	reg     *prometheus.Registry
}

func setupTenantMetrics(t *testing.T, maxTenants int) *tenantsBundle {
	t.Helper()
	h := NewHandlers()
	h.Command("stats", func(context.Context, *Message) (any, error) { return nil, nil })
	b := &tenantsBundle{t: t, metrics: newTenantMetrics(maxTenants, newNames(h)), reg: prometheus.NewRegistry()}
	if err := b.reg.Register(b.metrics); err != nil {
		t.Fatal(err)
	}
	return b
}

// record counts messages at their end.
func (b *tenantsBundle) record(ds ...*delivery) {
	b.metrics.mu.Lock()
	defer b.metrics.mu.Unlock()
	for _, d := range ds {
		b.metrics.recordLocked(d)
	}
}

// scrape returns what /metrics answers.
func (b *tenantsBundle) scrape() string {
	b.t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(b.reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		b.t.Fatalf("/metrics answers %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// ended is a message of a community of a tier that has ended.
func ended(community string, tier tenant.Tier, kind contract.Kind, name string, status contract.Status) *delivery {
	d := &delivery{received: time.Unix(0, 0)}
	d.Community, d.Tenant, d.Kind, d.status = community, &tenant.Tenant{ID: community, Tier: tier}, kind, status
	if kind == contract.KindCommand {
		d.Command = name
	} else {
		d.CheckType = name
	}
	return d
}

// TestTenantMetricsExposition: names, help and labels are what dashboards are written against.
func TestTenantMetricsExposition(t *testing.T) {
	b := setupTenantMetrics(t, 2)
	handled := ended("comm_001", tenant.Pro, contract.KindCommand, "stats", contract.StatusOK)
	handled.latency = 30 * time.Millisecond
	handled.admission.Limited, handled.admission.LimitedBy = true, tenant.Command
	handled.admission.Verdict = limiter.Verdict{Allowed: true, Limit: 100, Remaining: 75}
	failing := ended("comm_001", tenant.Pro, contract.KindCommand, "stats", contract.StatusError)
	failing.settlement, failing.errorType = nak, errorHandler
	failed := ended("comm_001", tenant.Pro, contract.KindCommand, "stats", contract.StatusError)
	failed.errorType = errorTimeout
	b.record(
		handled, failing, failed,
		ended("comm_001", tenant.Pro, contract.KindCommand, "stats", contract.StatusRateLimited),
		ended("comm_001", tenant.Pro, contract.KindCommand, "made_up", contract.StatusExpired), // no handler's name
		ended("comm_002", tenant.Free, contract.KindEligibility, "single", contract.StatusOK),
		ended("comm_002", tenant.Free, contract.KindSync, "community_sync", contract.StatusRateLimited),
		ended("comm_003", tenant.Free, contract.KindCommand, "stats", contract.StatusOK), // has no series of its own
	)
	testserver.Golden(t, "golden/tenant_metrics.txt", b.scrape())
}

// exposition is what a test reads of /metrics.
type exposition struct {
	bytes, series int
	communities   map[string]bool
	totals        map[string]float64 // over all communities, tiers and names, by metric and status
	ofOthers      float64            // commands that are counted under otherTenant
}

// read adds a sample such as name{label="value",...} 1.
func (e *exposition) read(t *testing.T, sample string) {
	t.Helper()
	e.series++
	sample = strings.Clone(sample) // what is kept of it must not keep the whole text
	metric, text, _ := strings.Cut(sample, "} ")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("%s: %v", sample, err)
	}
	name, list, _ := strings.Cut(metric, "{")
	labels := map[string]string{}
	for label := range strings.SplitSeq(list, ",") {
		k, v, _ := strings.Cut(label, "=")
		labels[k] = strings.Trim(v, `"`)
	}
	e.communities[labels["community_id"]] = true
	switch name = strings.TrimPrefix(name, "arrakis_tenant_"); name {
	case "commands_total":
		e.totals[name+" "+labels["status"]] += value
		if labels["community_id"] == otherTenant {
			e.ofOthers += value
		}
	case "eligibility_checks_total":
		e.totals[name+" "+labels["result"]] += value
	case "errors_total":
		e.totals[name+" "+labels["error_type"]] += value
	case "command_latency_seconds_count", "command_latency_seconds_sum":
		e.totals[name] += value
	}
}

func (b *tenantsBundle) exposition() exposition {
	b.t.Helper()
	text := b.scrape()
	e := exposition{bytes: len(text), communities: map[string]bool{}, totals: map[string]float64{}}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			e.read(b.t, strings.TrimSpace(line))
		}
	}
	return e
}

// heap is how many bytes are in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// madeUpCommunities is how many communities a test makes up.
var madeUpCommunities = 1_000_000

// TestInvariantBoundedMetrics checks I6: made-up communities, a thousand a second of them, leave memory and /metrics
// bounded, and lose no count when their series change hands.
func TestInvariantBoundedMetrics(t *testing.T) {
	const maxTenants = 10_000 // METRICS_MAX_TENANTS
	communities := madeUpCommunities
	b := setupTenantMetrics(t, maxTenants)
	recorded := map[string]float64{}
	empty := heap()
	b.recordMadeUp(0, communities/10, recorded)
	earlyHeap, early := heap()-empty, b.exposition()
	if len(early.communities) != maxTenants+1 {
		t.Fatalf("%d communities have series of their own after %d, want %d and %s", len(early.communities), communities/10, maxTenants, otherTenant)
	}
	b.recordMadeUp(communities/10, communities, recorded)
	lateHeap, late := heap()-empty, b.exposition()
	for n, e := range map[int]exposition{communities / 10: early, communities: late} {
		t.Logf("after %d communities: %d of them in %d series, %.1f MB of /metrics", n, len(e.communities), e.series, float64(e.bytes)/1e6)
	}
	t.Logf("%.1f MB of memory, then %.1f MB", float64(earlyHeap)/1e6, float64(lateHeap)/1e6)

	if n := len(late.communities); n > maxTenants+1 {
		t.Errorf("%d communities have series, want at most %d and %s", n, maxTenants, otherTenant)
	}
	if late.series > early.series*11/10 || late.bytes > early.bytes*11/10 {
		t.Errorf("%d series of %d bytes, at a tenth of the communities %d of %d", late.series, late.bytes, early.series, early.bytes)
	}
	if lateHeap > earlyHeap+5e6 {
		t.Errorf("%d bytes of memory, at a tenth of the communities %d", lateHeap, earlyHeap)
	}
	if lateHeap > 50e6 || late.bytes > 50e6 {
		t.Errorf("%d bytes of memory, %d bytes of /metrics, want at most 50 MB of each", lateHeap, late.bytes)
	}
	if diff := cmp.Diff(recorded, late.totals, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Errorf("totals over all series (-recorded +exposed)\n%s", diff)
	}
	if late.ofOthers < float64(communities/2) {
		t.Errorf("%v commands are counted under %s, want those of all communities without series", late.ofOthers, otherTenant)
	}
}

// recordMadeUp records the communities from and up to, each in a message of its own, and adds what it records to
// totals.
func (b *tenantsBundle) recordMadeUp(from, to int, totals map[string]float64) {
	for i := from; i < to; i++ {
		d := madeUp(i)
		b.record(d)
		if d.errorType != errorNone {
			totals["errors_total "+d.errorType.String()]++
		}
		switch {
		case d.settlement == nak:
		case d.Kind == contract.KindCommand:
			totals["commands_total "+statusLabels[d.statusIndex()]]++
			if d.latency > 0 {
				totals["command_latency_seconds_count"]++
				totals["command_latency_seconds_sum"] += d.latency.Seconds()
			}
		default:
			totals["eligibility_checks_total "+statusLabels[d.statusIndex()]]++
		}
	}
}

// madeUp is the only message of the i-th community, a millisecond after that of the one before: in two minutes all
// series have changed hands.
func madeUp(i int) *delivery {
	tier := []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise}[i%3]
	status := []contract.Status{contract.StatusOK, contract.StatusOK, contract.StatusRateLimited, contract.StatusError}[i/3%4]
	d := ended(fmt.Sprintf("made_up_%d", i), tier, contract.KindCommand, fmt.Sprintf("made_up_%d", i), status)
	switch {
	case i%10 == 9:
		d.Kind, d.CheckType = contract.KindEligibility, "single"
	case i%2 == 0:
		d.Command = "stats"
	}
	if status == contract.StatusOK {
		d.latency = time.Duration(i%1000+1) * time.Millisecond
	}
	if status == contract.StatusError {
		d.errorType = errorHandler
		if i%5 == 0 {
			d.settlement = nak
		}
	}
	d.admission.Limited, d.admission.LimitedBy = true, tenant.Command
	d.admission.Verdict = limiter.Verdict{Limit: 10, Remaining: int64(i % 10)}
	d.received = time.Unix(0, 0).Add(time.Duration(i) * time.Millisecond)
	return d
}
