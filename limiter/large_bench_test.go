package limiter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// BenchmarkCallTime fills a window and slides it on by half a window, in batches of 1,000, and reports how long Redis
// worked on one call of the script, and what the key takes then. With ARRAKIS_LONG_TESTS=1 also for 10,000,000 permits.
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
	rdb := testserver.Redis(b, "--slowlog-max-len", "1000000").Client(b)
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
		calls := watchCalls(b, rdb)
		for range permits / 1000 {
			batch()
		}
		for range max(10, permits/2000) {
			batch()
		}
		calls.report(b)
	}
	n, err := rdb.MemoryUsage(b.Context(), "ratelimit:k", 0).Result()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n), "B/key")
}

// BenchmarkBacklog reports how long Redis works on one call while 1,000,000 members of an older version, which kept
// every admission of a large limit, leave the window.
func BenchmarkBacklog(b *testing.B) {
	for _, limit := range []Limit{{Max: 10_000, Window: time.Minute}, {Max: 1_000_000, Window: time.Minute}} {
		b.Run(fmt.Sprintf("limit=%d", limit.Max), func(b *testing.B) {
			rdb := testserver.Redis(b, "--slowlog-max-len", "1000000").Client(b)
			l, err := New(rdb, Options{Health: patientHealth(b, rdb)})
			if err != nil {
				b.Fatal(err)
			}
			now := int64(year2100)
			l.clock = func() int64 { return now }
			for b.Loop() {
				fillOldLog(b, rdb, "ratelimit:k", 1_000_000, now)
				now += limit.Window.Milliseconds()
				calls := watchCalls(b, rdb)
				for i := range 2500 {
					now++
					if _, err := l.Allow(b.Context(), "k", limit, fmt.Sprint(now, "-", i)); err != nil {
						b.Fatal(err)
					}
				}
				calls.report(b)
			}
		})
	}
}

// fillOldLog adds admissions as an older version wrote them, all but the last one at the given time in unix ms.
func fillOldLog(tb testing.TB, rdb *redis.Client, key string, n int, at int64) {
	tb.Helper()
	const fill = `for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('ZADD', KEYS[1], ARGV[3], string.format('old-%012d', i)) end`
	for from := 1; from <= n; from += 10_000 {
		if err := rdb.Eval(tb.Context(), fill, []string{key}, from, min(from+9999, n), at).Err(); !errors.Is(err, redis.Nil) && err != nil {
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

// callTimes looks at what Redis says of the scripts' calls since it was made.
type callTimes struct{ rdb *redis.Client }

// watchCalls begins to look at the calls.
func watchCalls(tb testing.TB, rdb *redis.Client) callTimes {
	tb.Helper()
	ctx := context.Background()
	for _, err := range []error{
		rdb.ConfigResetStat(ctx).Err(), rdb.Do(ctx, "SLOWLOG", "RESET").Err(),
		rdb.ConfigSet(ctx, "slowlog-log-slower-than", "2000").Err(),
		rdb.ConfigSet(ctx, "latency-tracking-info-percentiles", "50 99 100").Err(),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return callTimes{rdb}
}

// report reports percentiles of Redis's time for a call, and how many calls its slow log has that took over 2 ms.
func (c callTimes) report(b *testing.B) {
	b.Helper()
	info, err := c.rdb.InfoMap(context.Background(), "latencystats").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range strings.Split(info["Latencystats"]["latency_percentiles_usec_evalsha"], ",") {
		name, value, _ := strings.Cut(p, "=")
		us, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.Fatalf("percentiles %q: %v", p, err)
		}
		b.ReportMetric(us, name+"-µs")
	}
	slow, err := c.rdb.Do(context.Background(), "SLOWLOG", "LEN").Int()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(slow), "over-2ms")
}
