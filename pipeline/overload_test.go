package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/tenant"
)

func testOverload(age time.Duration) *overload {
	return newOverload(prometheus.NewRegistry(), age, discard)
}

// interval is the waits of 100 commands of 100 communities of each tier. Its letters are how long they waited: q for
// quick, s for more than half of the age, l for more than the age, - for no commands.
func interval(age time.Duration, tiers string) *waits {
	w := newWaits(age)
	for tier, letter := range tiers {
		wait, ok := map[rune]time.Duration{'q': 0, 's': age/2 + 1, 'l': age + 1}[letter]
		for i := range 100 {
			if ok {
				w.add(fmt.Sprintf("%d-%d", tier, i), tier, wait)
			}
		}
	}
	return w
}

// TestOverloadLevel: free, pro and enterprise are shed in this order, while the tiers that are not shed wait too long,
// and served again in the opposite order.
func TestOverloadLevel(t *testing.T) {
	const age = 2 * time.Second
	for name, tt := range map[string]struct {
		intervals string // of a second each: free, pro and enterprise
		levels    string // after each interval
	}{
		"never late":                       {"qqq qqq sss sss qqq", "0 0 0 0 0"},
		"one late interval is a burst":     {"lll qqq lll sss lll qqq", "0 0 0 0 0 0"},
		"two are not":                      {"lll lll", "0 1"},
		"any tier may be the late one":     {"q-l q-l", "0 1"},
		"the next rise takes twice 2 s":    {"lll lll lll lll lll lll lll lll lll lll lll", "0 1 1 1 1 2 2 2 2 3 3"},
		"there are three tiers":            {strings.Repeat("lll ", 16), "0 1 1 1 1 2 2 2 2 3 3 3 3 3 3 3"},
		"what is shed does not count":      {"lll lll lqq lqq lqq lqq lqq lqq lqq", "0 1 1 1 1 1 1 1 1"},
		"nobody else waits":                {"l-- l-- l-- l-- l-- l-- l--", "0 1 1 1 1 1 1"},
		"it falls after three calm ones":   {"lll lll qqq qqq qqq", "0 1 1 1 0"},
		"calm ones in a row":               {"lll lll qqq qqq sqq qqq qqq qqq", "0 1 1 1 1 1 1 0"},
		"slow is neither late nor calm":    {"lll lll sss sss sss sss sss sss sss", "0 1 1 1 1 1 1 1 1"},
		"nothing waits, nothing runs":      {"lll lll --- --- ---", "0 1 1 1 0"},
		"each level falls by its tier":     {"lll lll lll lll lll lll lqq lqq lqq lqq lqq qqq qqq qqq", "0 1 1 1 1 2 2 2 1 1 1 1 1 0"},
		"a fall begins the count anew":     {"lll lll lll lll lll lll qqq qqq qqq qqq qqq qqq", "0 1 1 1 1 2 2 2 1 1 1 0"},
		"after a fall it may rise again":   {"lll lll qqq qqq qqq lll lll", "0 1 1 1 0 0 1"},
		"enterprise alone is shed at last": {"--l --l --l --l --l --l --l --l --l --l", "0 1 1 1 1 2 2 2 2 3"},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOverload(age)
			now := time.Unix(1_000_000, 0)
			var levels []string
			for letters := range strings.FieldsSeq(tt.intervals) {
				now = now.Add(overloadInterval)
				o.judge(now, interval(age, letters))
				levels = append(levels, fmt.Sprint(o.level.Load()))
			}
			if got := strings.Join(levels, " "); got != tt.levels {
				t.Errorf("levels %s, want %s", got, tt.levels)
			}
		})
	}
}

// TestWaitsOfMost: what half of a tier's messages wait decides, not the longest and not the shortest.
func TestWaitsOfMost(t *testing.T) {
	const age = time.Second
	for _, tt := range []struct {
		quick, late        int
		wantLate, wantCalm bool
	}{
		{0, 0, false, true}, {1, 0, false, true}, {0, 1, true, false}, {50, 50, false, true}, {49, 50, true, false}, {1, 99, true, false},
	} {
		w := newWaits(age)
		for i := range tt.quick {
			w.add(fmt.Sprint("q", i), 0, age/2)
		}
		for i := range tt.late {
			w.add(fmt.Sprint("l", i), 0, age+1)
		}
		if late, calm := w.late(0), w.calm(0); late != tt.wantLate || calm != tt.wantCalm {
			t.Errorf("%+v: late %t, calm %t", tt, late, calm)
		}
	}
}

// TestHeavyIsLeftOut: a community that begins more than its due is no reason to shed, however long its messages wait.
func TestHeavyIsLeftOut(t *testing.T) {
	const age = time.Second
	fill := func(w *waits, community string, n int, wait time.Duration) {
		for range n {
			w.add(community, 0, wait)
		}
	}
	w := newWaits(age)
	fill(w, "flood", 1_000, time.Minute)
	for i := range 10 {
		fill(w, fmt.Sprint("quiet", i), 5, 0)
	}
	w.leaveOutHeavy()
	if w.late(0) || !w.calm(0) {
		t.Errorf("the flood counts: %+v", w.tiers)
	}
	w = newWaits(age)
	for i := range 20 { // a twentieth each
		fill(w, fmt.Sprint("busy", i), 100, time.Minute)
	}
	if w.leaveOutHeavy(); !w.late(0) {
		t.Errorf("20 communities with a twentieth each do not count: %+v", w.tiers)
	}
	w = newWaits(age)
	fill(w, "few", lanes.DueMessages-1, time.Minute)
	if w.leaveOutHeavy(); !w.late(0) {
		t.Errorf("less than %d messages do not count: %+v", lanes.DueMessages, w.tiers)
	}
	for i := range 2 * maxHeavy {
		w.add(fmt.Sprint(i), 0, time.Minute)
	}
	if len(w.heavy) > maxHeavy {
		t.Errorf("%d communities are counted", len(w.heavy))
	}
}

// TestRefuse: who is refused, and how. What nobody waits for, what comes again and what arrakis has stored itself is not.
func TestRefuse(t *testing.T) {
	withReply := nats.Header{contract.HeaderReplyTo: {"_INBOX.a.b"}}
	command := func(tier tenant.Tier, change func(*delivery)) *delivery {
		d := queued("c1", 1)
		d.headers, d.Kind = withReply, contract.KindCommand
		d.admission.Tenant, d.admission.Limited = &tenant.Tenant{ID: "c1", Tier: tier}, true
		if change != nil {
			change(d)
		}
		return d
	}
	same := func(*delivery) {}
	for name, tt := range map[string]struct {
		tier    tenant.Tier
		change  func(*delivery)
		refused string // at the levels 0, 1, 2 and 3
	}{
		"free":                {tenant.Free, same, "-+++"},
		"pro":                 {tenant.Pro, same, "--++"},
		"enterprise":          {tenant.Enterprise, same, "---+"},
		"nobody waits":        {tenant.Free, func(d *delivery) { d.headers = nil }, "----"},
		"an invalid reply-to": {tenant.Free, func(d *delivery) { d.headers = nats.Header{contract.HeaderReplyTo: {"a.b"}} }, "----"},
		"a check":             {tenant.Free, func(d *delivery) { d.Kind = contract.KindEligibility }, "----"},
		"an event":            {tenant.Free, func(d *delivery) { d.Kind = contract.KindEvent }, "----"},
		"redelivered":         {tenant.Free, func(d *delivery) { d.admission.Repeated = true }, "----"},
		"carried":             {tenant.Free, func(d *delivery) { d.source = newSource(nil, contract.StreamRetry, "", discard) }, "----"},
		"admitted before":     {tenant.Free, func(d *delivery) { d.admission.Admitted = true }, "----"},
		"expired":             {tenant.Free, func(d *delivery) { d.disposition = expired() }, "----"},
	} {
		for level := range numTiers + 1 {
			o := testOverload(time.Second)
			o.level.Store(int32(level))
			d := command(tt.tier, tt.change)
			o.refuse([]*delivery{d})
			refused := d.errorType == errorOverloaded
			if refused != (tt.refused[level] == '+') {
				t.Errorf("%s, level %d: refused %t", name, level, refused)
			}
			if refused == d.admission.Limited {
				t.Errorf("%s, level %d: refused %t, asks for its limit %t", name, level, refused, d.admission.Limited)
			}
			shed := testutil.ToFloat64(o.shed[worth(tt.tier)])
			if refused != (shed == 1) {
				t.Errorf("%s, level %d: refused %t, counted %v", name, level, refused, shed)
			}
			if after := time.Duration(0); refused {
				after = time.Duration(d.failure.RetryAfterMS) * time.Millisecond
				if d.settlement != ack || d.failure.Code != 503 || after < calmIntervals*overloadInterval || after > 2*calmIntervals*overloadInterval {
					t.Errorf("%s, level %d: %+v, %+v", name, level, d.disposition, d.failure)
				}
			}
		}
	}
}
