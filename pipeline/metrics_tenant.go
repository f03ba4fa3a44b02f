package pipeline

import (
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/tracing"
	"arrakis/tenant"
)

const (
	// otherTenant is the community_id under which all communities without series of their own are counted.
	otherTenant = "_other"
	// idleTime is how long a community without messages keeps its series while other communities want series. It bounds
	// how often series move from one community to another: a stream of made-up communities is counted under
	// otherTenant.
	idleTime = time.Minute
)

// latencyBuckets are the upper bounds of arrakis_tenant_command_latency_seconds.
var latencyBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// tenantMetrics are the metrics that carry a community's ID. They are plain numbers under one lock, which is taken once
// for a batch of messages. A scrape turns them into Prometheus metrics. With 10,000 communities that takes a tenth of
// the memory of client_golang's vectors. The counts of an evicted community, its histogram included, can be added to
// those of otherTenant.
type tenantMetrics struct {
	known *names // set by newTenantMetrics, read-only

	mu     sync.Mutex // protects the fields below, and all series
	owners *simplelru.LRU[seriesKey, *tenantSeries]
	max    int
	others map[tenant.Tier]*tenantSeries
	ended  endCounts

	busy       []handlerTime               // of communities with series since takeBusy was called last, at most maxBusy
	busyOthers map[seriesKey]time.Duration // the same of others, at most maxBusyOthers
	busyRound  uint32                      // counts the calls of takeBusy, from 1
}

type seriesKey struct {
	community string
	tier      tenant.Tier
}

// tenantSeries are the numbers of one community in one tier.
type tenantSeries struct {
	seriesKey
	used     time.Time // when the series was last looked up
	commands []commandCounts
	checks   []checkCounts
	errors   [numErrorTypes]uint64
	ratios   [tenant.NumActions]float64 // used share of each limit
	limited  [tenant.NumActions]bool    // which ratios are set

	busyRound uint32 // the round in which busyPlace holds
	busyPlace int    // in tenantMetrics.busy
}

type commandCounts struct {
	command  string
	statuses [numStatuses]uint64
	buckets  []uint64 // by latencyBuckets, not cumulative; one more for longer latencies; nil before the first observation
	seconds  float64  // sum of latencies
	// exemplars are the last recorded message of each bucket; nil before the first one.
	exemplars []exemplar
}

type checkCounts struct {
	checkType string
	statuses  [numStatuses]uint64
}

// The values of the labels status and result, in the order of their indexes.
var statusLabels = [...]string{"success", "error", "refused", "rate_limited", "expired", "shadow_limited"}

const numStatuses = len(statusLabels)

func (d *delivery) statusIndex() int {
	switch {
	case d.status == contract.StatusExpired:
		return 4
	case d.admission.Shadowed: // whatever became of it: with the limit enforced, it would be rate_limited
		return 5
	case d.status == contract.StatusOK:
		return 0
	case d.refused:
		return 2
	case d.status == contract.StatusRateLimited:
		return 3
	default:
		return 1
	}
}

func newTenantMetrics(limit int, known *names) *tenantMetrics {
	m := &tenantMetrics{
		known: known, max: max(limit, 1), others: make(map[tenant.Tier]*tenantSeries),
		busyOthers: make(map[seriesKey]time.Duration), busyRound: 1,
	}
	m.owners, _ = simplelru.NewLRU[seriesKey, *tenantSeries](m.max, nil) // an error only for a size below 1
	return m
}

// seriesLocked returns the series of a community. The caller must hold m.mu, and must not use the series after it
// releases m.mu.
func (m *tenantMetrics) seriesLocked(community string, tier tenant.Tier, now time.Time) *tenantSeries {
	key := seriesKey{community, tier}
	if s, ok := m.owners.Get(key); ok {
		s.used = now
		return s
	}
	if m.owners.Len() >= m.max {
		_, oldest, _ := m.owners.GetOldest()
		if now.Sub(oldest.used) < idleTime {
			return m.otherLocked(tier)
		}
		m.otherLocked(oldest.tier).add(oldest)
		m.owners.RemoveOldest()
	}
	s := &tenantSeries{seriesKey: key, used: now}
	m.owners.Add(key, s)
	return s
}

// otherLocked returns the common series of a tier's communities without series of their own. The caller must hold m.mu.
func (m *tenantMetrics) otherLocked(tier tenant.Tier) *tenantSeries {
	s, ok := m.others[tier]
	if !ok {
		s = &tenantSeries{seriesKey: seriesKey{otherTenant, tier}}
		m.others[tier] = s
	}
	return s
}

// recordLocked counts a message. A retry counts only as an error of its type; the message itself is counted when it
// ends. An answer does not count: its interaction does. The caller must hold m.mu.
func (m *tenantMetrics) recordLocked(d *delivery) {
	if d.Tenant == nil || d.Kind == contract.KindAnswer {
		return // without a tenant, it could not be decoded, so its community is unknown
	}
	m.ended.add(d)
	s := m.seriesLocked(d.Community, d.Tenant.Tier, d.received)
	m.busyLocked(s, d)
	if d.errorType != errorNone {
		s.errors[d.errorType]++
	}
	if r := &d.admission; r.Limited && r.Verdict.Limit > 0 && s.community != otherTenant {
		s.ratios[r.LimitedBy] = 1 - float64(r.Verdict.Remaining)/float64(r.Verdict.Limit)
		s.limited[r.LimitedBy] = true
	}
	if d.settlement == nak {
		return
	}
	switch d.Kind {
	case contract.KindCommand:
		c := s.command(m.known, d.Command)
		c.statuses[d.statusIndex()]++
		if d.latency > 0 {
			c.observe(d.latency.Seconds(), d.trace, d.received.Add(d.latency))
		}
	case contract.KindEligibility, contract.KindSync:
		s.check(m.known.label(d.Kind, d.CheckType)).statuses[d.statusIndex()]++
	}
}

// command returns the counts of a command. Commands that no handler knows share one.
func (s *tenantSeries) command(known *names, name string) *commandCounts {
	for i := range s.commands {
		if s.commands[i].command == name { // only known commands have counts
			return &s.commands[i]
		}
	}
	return s.labelled(known.label(contract.KindCommand, name))
}

// labelled returns the counts for a label. Labels are from a bounded set.
func (s *tenantSeries) labelled(label string) *commandCounts {
	for i := range s.commands {
		if s.commands[i].command == label {
			return &s.commands[i]
		}
	}
	s.commands = append(s.commands, commandCounts{command: label})
	return &s.commands[len(s.commands)-1]
}

func (s *tenantSeries) check(label string) *checkCounts {
	for i := range s.checks {
		if s.checks[i].checkType == label {
			return &s.checks[i]
		}
	}
	s.checks = append(s.checks, checkCounts{checkType: label})
	return &s.checks[len(s.checks)-1]
}

// observe counts a latency. trace is that of a recorded message, nil for others.
func (c *commandCounts) observe(seconds float64, trace *tracing.Trace, at time.Time) {
	if c.buckets == nil {
		c.buckets = make([]uint64, len(latencyBuckets)+1)
	}
	bucket := sort.SearchFloat64s(latencyBuckets, seconds)
	c.buckets[bucket]++
	c.seconds += seconds
	if trace != nil {
		if c.exemplars == nil {
			c.exemplars = make([]exemplar, len(c.buckets))
		}
		c.exemplars[bucket] = exemplar{traceID: trace.TraceID(), seconds: seconds, at: at.UnixNano()}
	}
}

// add adds the counts of an evicted series. The ratios of that series are states, not counts, and are dropped.
func (s *tenantSeries) add(gone *tenantSeries) {
	for i := range gone.commands {
		from := &gone.commands[i]
		to := s.labelled(from.command)
		for status, n := range from.statuses {
			to.statuses[status] += n
		}
		to.seconds += from.seconds
		if from.buckets != nil && to.buckets == nil {
			to.buckets = make([]uint64, len(latencyBuckets)+1)
		}
		for b, n := range from.buckets {
			to.buckets[b] += n
		}
	}
	for i := range gone.checks {
		to := s.check(gone.checks[i].checkType)
		for status, n := range gone.checks[i].statuses {
			to.statuses[status] += n
		}
	}
	for e, n := range gone.errors {
		s.errors[e] += n
	}
}

// clone copies the series, so that a scrape does not hold the lock.
func (s *tenantSeries) clone() tenantSeries {
	c := *s
	c.commands = append([]commandCounts(nil), s.commands...)
	for i := range c.commands {
		c.commands[i].buckets = append([]uint64(nil), c.commands[i].buckets...)
		c.commands[i].exemplars = append([]exemplar(nil), c.commands[i].exemplars...)
	}
	c.checks = append([]checkCounts(nil), s.checks...)
	return c
}

// snapshot copies all series.
func (m *tenantMetrics) snapshot() []tenantSeries {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]tenantSeries, 0, m.owners.Len()+len(m.others))
	for _, s := range m.owners.Values() {
		all = append(all, s.clone())
	}
	for _, s := range m.others {
		all = append(all, s.clone())
	}
	return all
}

// The contract's metrics with a community's ID.
var (
	commandsDesc = prometheus.NewDesc("arrakis_tenant_commands_total",
		"Commands by how they ended.", []string{"community_id", "tier", "command", "status"}, nil)
	latencyDesc = prometheus.NewDesc("arrakis_tenant_command_latency_seconds",
		"Time from the decoding of a command to the end of its handler.", []string{"community_id", "tier", "command"}, nil)
	checksDesc = prometheus.NewDesc("arrakis_tenant_eligibility_checks_total",
		"Eligibility checks and syncs by how they ended.", []string{"community_id", "tier", "check_type", "result"}, nil)
	errorsDesc = prometheus.NewDesc("arrakis_tenant_errors_total",
		"Errors by type; each failed attempt counts.", []string{"community_id", "tier", "error_type"}, nil)
	ratioDesc = prometheus.NewDesc("arrakis_tenant_rate_limit_usage_ratio",
		"Used share of the limit after the community's last message, 0 to 1.", []string{"community_id", "tier", "action"}, nil)
)

// Describe implements prometheus.Collector.
func (m *tenantMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{commandsDesc, latencyDesc, checksDesc, errorsDesc, ratioDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *tenantMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.snapshot() {
		s.collect(ch)
	}
}

func (s *tenantSeries) collect(ch chan<- prometheus.Metric) {
	id, tier := s.community, string(s.tier)
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		if n > 0 {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), append([]string{id, tier}, labels...)...)
		}
	}
	for _, c := range s.commands {
		for status, n := range c.statuses {
			count(commandsDesc, n, c.command, statusLabels[status])
		}
		if c.buckets != nil {
			total, cumulative := c.cumulative()
			ch <- c.withExemplars(prometheus.MustNewConstHistogram(latencyDesc, total, c.seconds, cumulative, id, tier, c.command))
		}
	}
	for _, c := range s.checks {
		for status, n := range c.statuses {
			count(checksDesc, n, c.checkType, statusLabels[status])
		}
	}
	for e, n := range s.errors {
		count(errorsDesc, n, errorType(e).String())
	}
	for a, set := range s.limited {
		if set {
			ch <- prometheus.MustNewConstMetric(ratioDesc, prometheus.GaugeValue, s.ratios[a], id, tier, tenant.Action(a).String())
		}
	}
}

func (c *commandCounts) cumulative() (total uint64, below map[float64]uint64) {
	below = make(map[float64]uint64, len(latencyBuckets))
	for i, n := range c.buckets {
		total += n
		if i < len(latencyBuckets) {
			below[latencyBuckets[i]] = total
		}
	}
	return total, below
}
