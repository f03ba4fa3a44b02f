package pipeline

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// While communities that keep within their due wait too long, this process has more work than it can do, and no order of
// turns helps. Then new commands are refused, those of the cheapest tier first, so that the others are handled in time.
// What is here is after CoDel (Nichols and Jacobson, 2012): not the length of a queue tells that there is too much work,
// but a wait that does not end within an interval. A queue that works off a burst is no overload.

const (
	// overloadInterval is the time for which waits are counted before they are judged.
	overloadInterval = time.Second
	// lateIntervals is how many late intervals in a row raise the level. In one alone, a process may just have worked off
	// what waited while no process ran.
	lateIntervals = 2
	// calmIntervals is how many calm intervals in a row lower the level.
	calmIntervals = 3
)

// tiersByWorth are the tiers in the order in which their commands are refused.
var tiersByWorth = [...]tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise}

const numTiers = len(tiersByWorth)

// worth is the index of a tier in tiersByWorth.
func worth(t tenant.Tier) int {
	switch t {
	case tenant.Enterprise:
		return 2
	case tenant.Pro:
		return 1
	default:
		return 0
	}
}

// overload decides which new commands are refused.
type overload struct {
	// Set by newOverload, read-only.
	age  time.Duration // how long communities within their due may wait; 0: nothing is refused
	shed [numTiers]prometheus.Counter
	log  *slog.Logger

	// level is of how many tiers commands are refused. Written by judge, read by the shards.
	level atomic.Int32

	// Owned by judge.
	late, calm int       // intervals in a row
	raised     time.Time // when the level rose
}

// newOverload makes the decision and its metrics, which are registered unless reg is nil. Age 0 refuses nothing.
func newOverload(reg prometheus.Registerer, age time.Duration, log *slog.Logger) *overload {
	o := &overload{age: age, log: log}
	shed := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_shed_total", Help: "New commands that were refused because this process has too much work.",
	}, []string{"tier"})
	for i, tier := range tiersByWorth {
		o.shed[i] = shed.WithLabelValues(string(tier))
	}
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arrakis_overload_level",
		Help: "Whose new commands are refused: 0 nobody's, 1 the free tier's, 2 those of free and pro, 3 all.",
	}, func() float64 { return float64(o.level.Load()) })
	return o
}

// judge judges the waits of the interval that ends at now. The level rises if a tier whose commands are not refused
// waits too long. What had begun to wait before has to be worked off before that shows in the waits, so the level rises
// again no sooner than twice the age later. It falls if the last tier that is refused, and those above it, wait for less
// than half of the age.
func (o *overload) judge(now time.Time, w *waits) {
	level := int(o.level.Load())
	switch {
	case w.late(level):
		o.late, o.calm = o.late+1, 0
	case level > 0 && w.calm(level-1):
		o.late, o.calm = 0, o.calm+1
	default:
		o.late, o.calm = 0, 0
	}
	switch {
	case o.late >= lateIntervals && level < numTiers && now.Sub(o.raised) >= 2*o.age:
		o.raised = now
		o.change(level + 1)
	case o.calm >= calmIntervals:
		o.change(level - 1)
	}
}

// change sets the level and logs it.
func (o *overload) change(level int) {
	o.late, o.calm = 0, 0
	rises := level > int(o.level.Swap(int32(level))) //nolint:gosec // at most numTiers
	var tiers []string
	for _, t := range tiersByWorth[:level] {
		tiers = append(tiers, string(t))
	}
	attrs := []any{"level", level, "tiers", strings.Join(tiers, ","), "age", o.age.String()}
	switch {
	case rises:
		o.log.Warn("overloaded: communities within their due wait too long; new commands of these tiers are refused", attrs...)
	case level > 0:
		o.log.Info("less overloaded: only new commands of these tiers are refused", attrs...)
	default:
		o.log.Info("not overloaded any more: no command is refused", attrs...)
	}
}

// refuse refuses the commands of a batch whose tier is shed. Their tenants are known, and nothing is charged for them.
// What nobody waits for is not refused, because nobody would be told: it takes its turn. Neither is what arrakis has
// taken on before: a message that comes again, and one that it has stored itself. The shards call it.
func (o *overload) refuse(batch []*delivery) {
	level := int(o.level.Load())
	if level == 0 {
		return
	}
	for _, d := range batch {
		a := &d.admission
		tier := worth(a.Tenant.Tier)
		if tier >= level || d.Kind != contract.KindCommand || d.decided() || !d.fresh() || a.Admitted || !d.awaited() {
			continue
		}
		a.Limited = false
		d.disposition = overloaded(retryAfter())
		o.shed[tier].Inc()
	}
}

// retryAfter is when a refused command may be sent again: after the level can have fallen, and not all at once.
func retryAfter() time.Duration {
	const soonest = calmIntervals * overloadInterval
	return soonest + rand.N(soonest) //nolint:gosec // jitter
}

// run judges the waits of each interval until ctx ends. take returns the waits since it was called last.
func (o *overload) run(ctx context.Context, take func(now time.Time) *waits) {
	if o.age == 0 {
		return
	}
	ticker := time.NewTicker(overloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			o.judge(now, take(now))
		}
	}
}

// fresh reports whether d comes for the first time, as its sender published it.
func (d *delivery) fresh() bool { return d.source.route != nil && !d.admission.Repeated }
