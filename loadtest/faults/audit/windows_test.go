package audit_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"arrakis/loadtest/faults/audit"
)

const key = "ratelimit:comm_007:command"

var limits = map[string]audit.Limit{key: {Max: 2, Window: 1_000}}

// admitted are admissions of the key at the given times.
func admitted(at ...int64) []audit.Admission {
	var as []audit.Admission
	for i, t := range at {
		as = append(as, audit.Admission{Key: key, ID: fmt.Sprint(i), At: t})
	}
	return as
}

func nobody(string) bool { return false }

// Every window (t-W, t] counts, whatever the order in which the admissions are found.
func TestExceeded(t *testing.T) {
	for _, c := range []struct {
		name string
		at   []int64
		over int
	}{
		{"none", nil, 0},
		{"full", []int64{10, 20}, 0},
		{"the first has left just now", []int64{0, 500, 1_000}, 0},
		{"the first leaves in a millisecond", []int64{1, 500, 1_000}, 1},
		{"all at once", []int64{5, 5, 5, 5}, 2},
		{"between two full minutes", []int64{900, 990, 1_010, 1_100}, 2},
		{"in another order", []int64{1_010, 900, 1_100, 990}, 2},
		{"over twice", []int64{0, 1, 2, 5_000, 5_001, 5_002}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := audit.Exceeded(admitted(c.at...), limits, nobody, nil)
			if err != nil {
				t.Fatal(err)
			}
			if w.Over != c.over || (c.over > 0) != (len(w.Worst) > 0) {
				t.Errorf("%d over, %q; want %d", w.Over, w.Worst, c.over)
			}
		})
	}
}

// What is excused is counted apart, and nothing else is.
func TestExcused(t *testing.T) {
	w, err := audit.Exceeded(admitted(1, 2, 3, 4, 5_001, 5_002, 5_003), limits, nobody, func(at int64) bool { return at < 4 })
	if err != nil || w.Over != 2 || w.Excused != 1 {
		t.Errorf("%d over, %d excused (%v); want 2 and 1", w.Over, w.Excused, err)
	}
}

// A permit that was given back counts only if a handler has run for its message nevertheless.
func TestReleasedPermits(t *testing.T) {
	as := admitted(1, 2, 3)
	as[0].Released = true
	for ran, over := range map[bool]int{false: 0, true: 1} {
		w, err := audit.Exceeded(as, limits, func(id string) bool { return ran && id == "0" }, nil)
		if err != nil || w.Over != over {
			t.Errorf("a handler has run %t: %d over (%v), want %d", ran, w.Over, err, over)
		}
	}
}

func TestUnknownLimitIsAnError(t *testing.T) {
	if _, err := audit.Exceeded([]audit.Admission{{Key: "ratelimit:x:command", ID: "a"}}, limits, nobody, nil); err == nil {
		t.Error("no error")
	}
}

func TestUnpermitted(t *testing.T) {
	runs := map[string]audit.Run{
		"0": {Key: "ratelimit:other:command", Written: 100}, // it was admitted under the limit of another
		"1": {Key: key, Written: 100},
		"2": {Key: key, Written: 50}, // it was admitted after its handler had begun
		"9": {Key: key, Written: 100},
	}
	as := admitted(5, 5, 5)
	as[1].Offset, as[2].Offset = 50, 50
	if got := audit.Unpermitted(runs, as); !slices.Equal(got, []string{"0", "2", "9"}) {
		t.Errorf("got %v, want 0, 2 and 9", got)
	}
}

// file makes an append-only file of commands, given as words; ~ is a space in a word.
func file(commands ...string) string {
	var b strings.Builder
	for _, c := range commands {
		words := strings.Fields(c)
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			w = strings.ReplaceAll(w, "~", " ")
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	return b.String()
}

// read reads a file and returns the admissions as words, sorted.
func read(t *testing.T, text string, steps ...audit.Step) []string {
	t.Helper()
	as, err := audit.ReadLog(strings.NewReader(text), "ratelimit:", steps)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, a := range as {
		word := fmt.Sprintf("%s@%d", a.ID, a.At)
		if a.Released {
			word += " released"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return words
}

// An admission is where its command begins, whatever becomes of it.
func TestOffsets(t *testing.T) {
	first := file("SELECT 0", "ZADD "+key+" 1000 a")
	second := file("ZADD " + key + " 1001 b")
	as, err := audit.ReadLog(strings.NewReader(first+second+file("ZREM "+key+" b", "ZADD "+key+" 1002 c")), "ratelimit:", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, a := range as {
		got[a.ID] = a.Offset
	}
	want := map[string]int64{
		"a": int64(len(file("SELECT 0"))), "b": int64(len(first)), "c": int64(len(first + second + file("ZREM "+key+" b"))),
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReadLog(t *testing.T) {
	const k = key
	for _, c := range []struct {
		name string
		text string
		want []string
	}{
		{"empty", "", nil},
		{"other keys and notes", "#TS:1700000000\r\n" + file("SELECT 0", "SET tenant:config:a {}", "ZADD arrakis:config:changes 1 x"), nil},
		{"admitted", file("MULTI", "ZADD "+k+" 5 a 5 b", "PEXPIREAT "+k+" 1105", "EXEC"), []string{"a@5", "b@5"}},
		{"trimmed, and admitted again", file("ZADD "+k+" 5 a", "ZREMRANGEBYSCORE "+k+" -inf 5", "ZADD "+k+" 1005 a"), []string{"a@1005", "a@5"}},
		{"trimmed below", file("ZADD "+k+" 5 a", "ZREMRANGEBYSCORE "+k+" -inf (5", "ZREM "+k+" a"), []string{"a@5 released"}},
		{"trimmed by rank", file("ZADD "+k+" 5 b 5 a 6 c", "ZREMRANGEBYRANK "+k+" 0 1", "ZREM "+k+" a b c"), []string{"a@5", "b@5", "c@6 released"}},
		{"not trimmed, and admitted again", file("ZADD "+k+" 5 a", "ZADD "+k+" 1005 a"), []string{"a@1005", "a@5"}},
		{"merged when it is there", file("ZADD "+k+" 5 a", "ZADD "+k+" NX 3 a 4 b"), []string{"a@5", "b@4"}},
		{"given back", file("ZADD "+k+" 5 a 6 b", "ZREM "+k+" a"), []string{"a@5 released", "b@6"}},
		{"expired", file("ZADD "+k+" 5 a", "DEL "+k, "ZADD "+k+" 2000 b"), []string{"a@5", "b@2000"}},
		{"cut off", file("ZADD "+k+" 5 a") + file("ZADD " + k + " 6 b")[:20], []string{"a@5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := read(t, c.text); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// While the clock of Redis is set back, the audit's clock goes on.
func TestStepBack(t *testing.T) {
	before := file("ZADD " + key + " 5000 a")
	after := file("ZADD "+key+" 2000 b", "ZREMRANGEBYSCORE "+key+" -inf 2000")
	got := read(t, before+after, audit.Step{Offset: int64(len(before)), Back: 3_000})
	if want := []string{"a@5000", "b@5000"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A permit that is reserved counts from the time that it is reserved for, also if the clock of Redis is set back meanwhile,
// and is its message's. One that gets another time counts at both, and is over the limit if its window has not passed.
func TestReservations(t *testing.T) {
	const name = "\x02late~COMMANDS:7:1700000000000000000"
	before := file("ZADD "+key+" 5000 a", "ZADD "+key+" 7000 "+name)
	step := audit.Step{Offset: int64(len(before)), At: 5_500, Back: 3_000}
	for again, over := range map[int]int{8_400: 0, 7_400: 1} {
		after := file(fmt.Sprintf("ZADD %s %d %s", key, again, name))
		as, err := audit.ReadLog(strings.NewReader(before+after), "ratelimit:", []audit.Step{step})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(as, func(a, b audit.Admission) int { return int(a.At - b.At) })
		if as[0].At != 5_000 || as[1].At != 10_000 || as[2].At != int64(again)+3_000 || as[2].ID != "late" {
			t.Errorf("got %+v", as)
		}
		one := map[string]audit.Limit{key: {Max: 1, Window: 1_000}}
		if w, err := audit.Exceeded(as, one, nobody, nil); err != nil || w.Over != over || w.Admissions != 3 || w.Reserved != 2 {
			t.Errorf("%+v, %v; want 3 admissions, 2 of them reserved, and %d over", w, err, over)
		}
		for written, want := range map[int64]int{1: 1, 1 << 20: 0} {
			if got := audit.Unpermitted(map[string]audit.Run{"late": {Key: key, Written: written}}, as); len(got) != want {
				t.Errorf("a run when %d bytes were written: without a permit are %v", written, got)
			}
		}
	}
}

// What the audit does not understand is an error and not an empty log.
func TestLogThatIsNotUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"not a log":       "hello\r\n",
		"flushed":         file("FLUSHALL x"),
		"unknown command": file("ZINCRBY " + key + " 5 a"),
		"unknown option":  file("ZADD " + key + " GT 5 a"),
		"no score":        file("ZADD " + key + " 5 a b c"),
	} {
		if _, err := audit.ReadLog(strings.NewReader(text), "ratelimit:", nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
