package limiter

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// BenchmarkCallTime fills a window, slides it on by half a window in batches of 1,000, and reports how long Redis
// worked on single calls meanwhile, from its slow log, and what the key takes then.
func BenchmarkCallTime(b *testing.B) {
	limits := []int64{10_000, 100_000, 1_000_000}
	if longTests {
		limits = append(limits, 10_000_000)
	}
	for _, permits := range limits {
		b.Run(fmt.Sprintf("limit=%d", permits), func(b *testing.B) { benchmarkCallTime(b, permits) })
	}
}

func benchmarkCallTime(b *testing.B, permits int64) {
	b.Helper()
	rdb := testserver.Redis(b, "--slowlog-max-len", "100000").Client(b)
	l, err := New(rdb, Options{Health: patientHealth(b, rdb)})
	if err != nil {
		b.Fatal(err)
	}
	limit := Limit{Max: permits, Window: time.Hour}
	now := int64(year2100)
	l.clock = func() int64 { return now }
	serial := 0
	// batch asks for 1,000 permits, at the pace that fills the window once in its length.
	batch := func() {
		now += limit.Window.Milliseconds() * 1000 / permits
		ids := make([]string, 1000)
		for i := range ids {
			serial++
			ids[i] = fmt.Sprintf("0190163d-8694-739b-aea5-%012d", serial)
		}
		if _, err := l.Allow(b.Context(), "k", limit, ids...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for range permits / 1000 {
			batch()
		}
		slow := watchCalls(b, rdb)
		for range max(10, min(permits/2000, 500)) {
			batch()
		}
		slow.report(b)
	}
	n, err := rdb.MemoryUsage(b.Context(), "ratelimit:k", 0).Result()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n), "B/key")
}

// BenchmarkBacklog reports how long Redis works on single calls while 1,000,000 members of an older version, which kept
// every admission of a large limit, leave the window.
func BenchmarkBacklog(b *testing.B) {
	for _, limit := range []Limit{{Max: 10_000, Window: time.Minute}, {Max: 1_000_000, Window: time.Minute}} {
		b.Run(fmt.Sprintf("limit=%d", limit.Max), func(b *testing.B) {
			rdb := testserver.Redis(b, "--slowlog-max-len", "100000").Client(b)
			l, err := New(rdb, Options{Health: patientHealth(b, rdb)})
			if err != nil {
				b.Fatal(err)
			}
			now := int64(year2100)
			l.clock = func() int64 { return now }
			for b.Loop() {
				fillOldLog(b, rdb, "ratelimit:k", 1_000_000, now)
				now += limit.Window.Milliseconds()
				slow := watchCalls(b, rdb)
				for i := range 2500 {
					now++
					if _, err := l.Allow(b.Context(), "k", limit, fmt.Sprint(now, "-", i)); err != nil {
						b.Fatal(err)
					}
				}
				slow.report(b)
			}
		})
	}
}

// fillOldLog adds admissions as an older version wrote them, all but the last one at the given time in unix ms.
func fillOldLog(tb testing.TB, rdb *redis.Client, key string, n int, at int64) {
	tb.Helper()
	const fill = `for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('ZADD', KEYS[1], ARGV[3], string.format('old-%012d', i)) end`
	for from := 1; from <= n; from += 10_000 {
		if err := rdb.Eval(tb.Context(), fill, []string{key}, from, min(from+9999, n), at).Err(); err != nil && err != redis.Nil {
			tb.Fatal(err)
		}
	}
	if err := rdb.ZAdd(tb.Context(), key, redis.Z{Score: float64(at + 30_000), Member: "newest"}).Err(); err != nil {
		tb.Fatal(err)
	}
}

// patientHealth returns a Health that waits for a loaded machine.
func patientHealth(tb testing.TB, rdb redis.UniversalClient) *redishealth.Health {
	tb.Helper()
	h, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// callTimes looks at what Redis says of the calls since it was made.
type callTimes struct {
	rdb *redis.Client
	cpu float64 // seconds that Redis had used then
}

// cpuTime returns the seconds of CPU that Redis has used.
func cpuTime(tb testing.TB, rdb *redis.Client) (seconds float64) {
	tb.Helper()
	info, err := rdb.InfoMap(context.Background(), "cpu").Result()
	if err != nil {
		tb.Fatal(err)
	}
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		s, err := strconv.ParseFloat(info["CPU"][field], 64)
		if err != nil {
			tb.Fatal(err)
		}
		seconds += s
	}
	return seconds
}

// watchCalls begins to look at the calls.
func watchCalls(tb testing.TB, rdb *redis.Client) *callTimes {
	tb.Helper()
	ctx := context.Background()
	for _, err := range []error{
		rdb.ConfigResetStat(ctx).Err(), rdb.Do(ctx, "SLOWLOG", "RESET").Err(),
		rdb.ConfigSet(ctx, "slowlog-log-slower-than", "0").Err(),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return &callTimes{rdb: rdb, cpu: cpuTime(tb, rdb)}
}

// report reports the longest call, and how many took longer than 2 ms.
func (c *callTimes) report(b *testing.B) {
	b.Helper()
	ctx := context.Background()
	cpu := cpuTime(b, c.rdb) - c.cpu
	entries, err := c.rdb.SlowLogGet(ctx, 100_000).Result()
	if err != nil {
		b.Fatal(err)
	}
	var longest time.Duration
	over, calls := 0, 0
	var total time.Duration
	for _, e := range entries {
		if !strings.EqualFold(e.Args[0], "evalsha") {
			continue
		}
		calls++
		total += e.Duration
		longest = max(longest, e.Duration)
		if e.Duration > 2*time.Millisecond {
			over++
		}
	}
	b.ReportMetric(float64(longest.Microseconds()), "µs/longest")
	b.ReportMetric(float64(total.Microseconds())/float64(calls), "µs/call")
	b.ReportMetric(float64(over), "over-2ms")
	b.ReportMetric(float64(calls), "calls")
	b.ReportMetric(cpu*1e6/float64(calls), "cpu-µs/call")
}
