package idempotency

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// start runs a store, which stands for a process.
func start(t *testing.T, rdb redis.UniversalClient, o Options) *Store {
	t.Helper()
	if o.Health == nil {
		var err error
		if o.Health, err = redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(rdb, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return s
}

var (
	key   = Key{Community: "comm_001", Route: "command", EventID: "e1"}
	pong  = Answer{Status: 200, Body: []byte(`{"status":"ok"}`)}
	first = []byte("first")
)

// begin asks for a request, and checks what was found.
func begin(t *testing.T, s *Store, k Key, message []byte, want Result) Begun {
	t.Helper()
	b := s.Begin(t.Context(), k, message)
	if b.Result != want || (b.Mark != nil) != (want == MayRun) {
		t.Fatalf("%v %q: %s, mark %v, want %s", k, message, resultNames[b.Result], b.Mark != nil, resultNames[want])
	}
	return b
}

// replayed checks that a request was answered.
func replayed(t *testing.T, s *Store, k Key, message []byte, want Answer) {
	t.Helper()
	b := begin(t, s, k, message, Replayed)
	if diff := cmp.Diff(want, b.Answer); diff != "" {
		t.Errorf("replayed (-want +got)\n%s", diff)
	}
}

// TestOneRequest follows one event ID through two processes.
func TestOneRequest(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		a, b := start(t, rdb, Options{}), start(t, rdb, Options{})
		other := []byte("other")
		mark := begin(t, a, key, first, MayRun).Mark
		for _, s := range []*Store{a, b} {
			begin(t, s, key, first, Running)
			begin(t, s, key, other, Mismatch)
		}
		<-mark.Forget(t.Context())
		mark = begin(t, b, key, other, MayRun).Mark // another body, because nothing is kept of what failed
		begin(t, a, key, other, Running)
		<-mark.Keep(t.Context(), pong)
		for _, s := range []*Store{a, b} {
			replayed(t, s, key, other, pong)
			begin(t, s, key, first, Mismatch)
		}
		for _, k := range []Key{{"comm_002", "command", "e1"}, {"comm_001", "event", "e1"}, {"comm_001", "command", "e2"}} {
			mark := begin(t, a, k, other, MayRun).Mark
			<-mark.Forget(t.Context())
		}
	})
}

// F6: what failed may be tried again, but no other message under its event ID, which would not be charged. That holds
// in other processes, and in the one where it failed also while Redis knows nothing.
func TestF6OtherMessageAfterFailure(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		k := Key{Community: "comm_failed", Route: "command", EventID: "e1"}
		a, b := start(t, rdb, Options{}), start(t, rdb, Options{})
		<-begin(t, a, k, first, MayRun).Mark.Fail(t.Context())
		for _, s := range []*Store{a, b} {
			begin(t, s, k, []byte("other"), Mismatch)
			mark := begin(t, s, k, first, MayRun).Mark
			begin(t, s, k, first, Running)
			<-mark.Fail(t.Context())
		}
		if err := rdb.Del(t.Context(), recordKey(k.Community, k.member())).Err(); err != nil {
			t.Fatal(err)
		}
		begin(t, a, k, []byte("other"), Mismatch)
		<-begin(t, a, k, first, MayRun).Mark.Keep(t.Context(), pong)
		replayed(t, b, k, first, pong)
	})
}

// TestOneOfManyRuns: of many requests at the same time, in two processes, one runs.
func TestOneOfManyRuns(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		rdb := testserver.ConnectRedis(t, addr)
		stores := []*Store{start(t, rdb, Options{}), start(t, rdb, Options{})}
		for i := range 20 {
			k := Key{"comm_001", "command", fmt.Sprint(i)}
			begun := make(chan Begun, 40)
			var wg sync.WaitGroup
			for j := range cap(begun) {
				wg.Go(func() { begun <- stores[j%2].Begin(t.Context(), k, first) })
			}
			wg.Wait()
			close(begun)
			var mark *Mark
			for b := range begun {
				switch {
				case b.Result == MayRun && mark == nil:
					mark = b.Mark
				case b.Result != Running:
					t.Fatalf("a second request is %s", resultNames[b.Result])
				}
			}
			<-mark.Keep(t.Context(), pong)
			replayed(t, stores[0], k, first, pong)
			replayed(t, stores[1], k, first, pong)
		}
	})
}

// TestF6RepeatedAtTheSameTime guards against F6: whoever repeats an answered request gets its answer, also while others
// repeat it, with the same message or with another one.
func TestF6RepeatedAtTheSameTime(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s := start(t, testserver.ConnectRedis(t, addr), Options{})
		<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
		other := []byte("other")
		for range 20 {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if b := s.Begin(t.Context(), key, first); b.Result != Replayed || !bytes.Equal(b.Answer.Body, pong.Body) {
						t.Errorf("repeated: %s %q, want the answer", resultNames[b.Result], b.Answer.Body)
					}
				})
				wg.Go(func() {
					if b := s.Begin(t.Context(), key, other); b.Result != Mismatch {
						t.Errorf("another message: %s, want a mismatch", resultNames[b.Result])
					}
				})
			}
			wg.Wait()
		}
	})
}

// TestInvariantBoundedAnswers checks I6 and I4: a community's answers are bounded by their size, the newest are known,
// and other communities lose none.
func TestInvariantBoundedAnswers(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, reader := start(t, rdb, Options{MaxPerCommunity: 20}), start(t, rdb, Options{MaxPerCommunity: 20})
		large := Answer{Status: 200, Body: []byte(strings.Repeat("x", 3000))} // 3 KiB
		keep := func(community string, i int) {
			k := Key{community, "command", fmt.Sprint(i)}
			<-begin(t, s, k, first, MayRun).Mark.Keep(t.Context(), large)
		}
		keep("quiet", 0)
		const busy = 50
		for i := range busy {
			keep("busy", i)
		}
		keep("quiet", 1) // its calls take the last deletions along
		for community, want := range map[string]int{"busy": 20 / 3, "quiet": 2} {
			n, err := rdb.ZCard(t.Context(), indexPrefix+community).Result()
			if err != nil || n > 20 {
				t.Errorf("%s: the index has %d entries, %v", community, n, err)
			}
			records := 0
			for i := range busy {
				k := Key{community, "command", fmt.Sprint(i)}
				records += int(rdb.Exists(t.Context(), recordKey(community, k.member())).Val())
			}
			if records != want {
				t.Errorf("%s: %d answers are kept, want %d", community, records, want)
			}
		}
		replayed(t, reader, Key{"busy", "command", fmt.Sprint(busy - 1)}, first, large)
		replayed(t, reader, Key{"quiet", "command", "0"}, first, large)
	})
}

// TestTooLargeAnswer: a large answer is not kept, but the request does not run again.
func TestTooLargeAnswer(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s := start(t, testserver.ConnectRedis(t, addr), Options{MaxAnswer: 10})
		<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
		replayed(t, s, key, first, Answer{Status: 200, TooLarge: true})
	})
}
