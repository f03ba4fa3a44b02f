package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver/fakediscord"
)

func TestLatencies(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration(1000-i)*time.Millisecond)
	}
	want := program.Latencies{Count: 1000, P50: 501 * time.Millisecond, P99: 991 * time.Millisecond, Max: time.Second}
	if got := program.NewLatencies(all); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := program.NewLatencies(nil); got != (program.Latencies{}) {
		t.Errorf("of none: %v", got)
	}
}

// filled is a result of which each ending has one interaction.
func filled(t *testing.T) *loadResult {
	t.Helper()
	l := newLedger(true)
	for id, e := range map[string]entry{
		"1": {class: quick, took: 5 * time.Millisecond, stored: true, runs: 1, ended: fakediscord.Ended{How: fakediscord.Inline, Message: json.RawMessage(`{"content":"pong 1"}`)}},
		"2": {class: slow, took: 2 * time.Second, deferred: true, stored: true, runs: 2, ended: fakediscord.Ended{How: fakediscord.Edited, After: 4 * time.Second, Message: json.RawMessage(`{"content":"pong 2"}`)}},
		"3": {class: quick, broken: true, stored: true, runs: 1, ended: fakediscord.Ended{How: fakediscord.Callback, After: 300 * time.Millisecond, Message: json.RawMessage(`{"content":"pong 3"}`)}},
		"4": {class: over, took: 7 * time.Millisecond, stored: true, ended: fakediscord.Ended{How: fakediscord.Inline, Ephemeral: true, Message: json.RawMessage(`{"content":"<t:1:R>"}`)}},
		"5": {class: quick, took: time.Millisecond, ended: fakediscord.Ended{How: fakediscord.Inline, Message: json.RawMessage(`{"content":"sorry"}`)}},
		"6": {class: quick, broken: true, rule: "EOF", ended: fakediscord.Ended{How: fakediscord.Lost}},
		"7": {class: quick, broken: true, rule: "EOF", stored: true, ended: fakediscord.Ended{How: fakediscord.Lost}},
		"8": {class: quick, late: true, rule: "no answer", stored: true, ended: fakediscord.Ended{How: fakediscord.Lost}},
		"9": {class: quick, rule: "status 503", ended: fakediscord.Ended{How: fakediscord.Lost}},
		"0": {class: slow, took: 2 * time.Second, deferred: true, stored: true},
	} {
		e.id = id
		l.entries[id] = &e
	}
	r := &loadResult{Sent: 10}
	r.count(l)
	return r
}

func TestCount(t *testing.T) {
	r := filled(t)
	for _, name := range endingNames {
		if r.Endings[name] != 1 {
			t.Errorf("%s: %d, want 1", name, r.Endings[name])
		}
	}
	got := []int{r.Lost, r.Broken, r.BrokenAnswered, r.Deferred, r.Repeats, r.Quick.Count, r.All.Count, r.Edits.Count, len(r.Examples)}
	if want := []int{4, 3, 1, 2, 1, 3, 6, 1, 5}; !cmp.Equal(got, want) {
		t.Errorf("lost, broken, of these answered, deferred, repeats, quick, all, edits, examples: %v, want %v", got, want)
	}
	if r.Quick.Max != 300*time.Millisecond || r.All.Max != 2*time.Second || r.Edits.Max != 4*time.Second {
		t.Errorf("the longest: %v, %v and %v", r.Quick.Max, r.All.Max, r.Edits.Max)
	}
}

// good is a result that meets all targets.
func good() *report {
	l := program.Latencies{Count: 9, P50: time.Millisecond, P99: 90 * time.Millisecond, Max: 2 * time.Second}
	return &report{
		o:     options{flood: 100},
		Load:  &loadResult{Sent: 9, Quick: l, All: l, Endings: map[string]int{}},
		Flood: &floodResult{Sent: 100, Answered: freeLimit, Refusals: 100 - freeLimit},
	}
}

func TestTargets(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil  func(*report)
		failed bool
	}{
		"all met":                {func(*report) {}, false},
		"slow":                   {func(r *report) { r.Load.Quick.P99 = 101 * time.Millisecond }, true},
		"slow, and quickly told": {func(r *report) { r.Load.Quick.P99, r.o.quick = time.Second, true }, false},
		"nothing measured":       {func(r *report) { r.Load.Quick, r.o.quick = program.Latencies{}, true }, true},
		"too late":               {func(r *report) { r.Load.All.Max = 3001 * time.Millisecond }, true},
		"lost":                   {func(r *report) { r.Load.Lost = 1 }, true},
		"wrong":                  {func(r *report) { r.Load.Endings[endingNames[wrong]] = 1 }, true},
		"dead":                   {func(r *report) { r.Load.DeadLetters = 1 }, true},
		"crashed":                {func(r *report) { r.Load.Crashes = []string{"a"} }, true},
		"dropped":                {func(r *report) { r.Load.Dropped = 1 }, true},
		"not stored":             {func(r *report) { r.Load.Endings[endingNames[unstored]] = 1 }, false},
		"one answer too many":    {func(r *report) { r.Flood.Answered++ }, true},
		"one refusal too few":    {func(r *report) { r.Flood.Refusals-- }, true},
		"a call":                 {func(r *report) { r.Flood.RESTCalls = 1 }, true},
	} {
		r := good()
		tt.spoil(r)
		r.judge()
		if r.Failed() != tt.failed {
			t.Errorf("%s: failed %v, want %v: %+v", name, r.Failed(), tt.failed, r.Targets)
		}
	}
}

func TestReport(t *testing.T) {
	r := good()
	r.Load = filled(t)
	r.o.rate, r.o.duration, r.o.kill = 2_000, time.Minute, 5*time.Second
	r.judge()
	var text strings.Builder
	if err := r.write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| lost                                                             | 0            | 4         | missed |",
		"## Load: 2000 interactions a second for 1m0s, a worker killed every 5s",
		"| to the first answer, quick handlers | 3  | 5.0 ms    | 300.0 ms  | 300.0 ms  |",
		"- answered against the rules: 9: ",
		"| refused, ephemeral, with the time to try again | 90  |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
	text.Reset()
	r.o.json = true
	if err := r.print(&text); err != nil || !json.Valid([]byte(text.String())) || !strings.Contains(text.String(), `"lost": 4`) {
		t.Errorf("as JSON, %v: %s", err, text.String())
	}
}

// Interactions start when they are due, however long others take, and what is late starts at once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, ms := time.Now(), time.Millisecond
		interactions := make([]prepared, 5)
		for n := range interactions {
			interactions[n].due = began.Add(time.Duration(n) * 10 * ms)
		}
		var starts []time.Duration
		err := pace(t.Context(), interactions, func(p prepared) {
			starts = append(starts, time.Since(began))
			if p.due.Sub(began) == 10*ms {
				<-time.After(25 * ms) // the machine stalls
			}
		})
		if want := []time.Duration{0, 10 * ms, 35 * ms, 35 * ms, 40 * ms}; err != nil || !cmp.Equal(starts, want) {
			t.Errorf("started at %v, %v; want %v", starts, err, want)
		}
	})
}

// Interactions are made before the first of them is due, and say when each is.
func TestPrepare(t *testing.T) {
	s := &site{discord: fakediscord.New(fakediscord.Options{})}
	drawn := 0
	all, err := s.prepare(t.Context(), 100, 3, func() (fakediscord.Interaction, class) {
		drawn++
		return fakediscord.Slash(quickCommand), class(drawn)
	})
	if early := time.Until(all[0].due); err != nil || early > 0 {
		t.Fatalf("prepared %v before the first is due, %v", early, err)
	}
	for n, p := range all {
		id, _ := strconv.ParseUint(p.ID, 10, 64)
		if created := time.UnixMilli(int64(id>>22) + 1_420_070_400_000); p.class != class(n+1) || !created.Equal(p.due.Truncate(time.Millisecond)) ||
			!p.due.Equal(all[0].due.Add(time.Duration(n)*10*time.Millisecond)) {
			t.Errorf("interaction %d is due at %v, created at %v, of class %d", n, p.due, created, p.class)
		}
	}
	if issued := s.discord.Totals().Issued; issued != 0 {
		t.Errorf("%d are known before they are sent", issued)
	}
}

// The load is of all classes, in their parts, and the slow ones are of commands and components.
func TestDraw(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	got, names, documents := map[class]int{}, map[string]int{}, tenants(2_000)
	for range 10_000 {
		i, c := draw(rnd, 1)
		got[c]++
		names[i.Name+i.CustomID]++
		if _, has := documents["tenant:config:"+i.Guild]; has != (c != over) {
			t.Fatalf("class %d in guild %s", c, i.Guild)
		}
	}
	if got[slow] < 50 || got[slow] > 200 || got[over] < 300 || got[over] > 700 {
		t.Errorf("quick, slow, over: %v; want 94 %%, 1 %%, 5 %%", got)
	}
	if len(names) != 4 {
		t.Errorf("commands and components: %v, want four", names)
	}
}

func TestOptions(t *testing.T) {
	if _, err := parseOptions([]string{"--help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
	for _, args := range []string{
		"", "--arrakis=a x", "--arrakis=a --rate=0", "--arrakis=a --duration=1ms", "--arrakis=a --kill=1ms", "--arrakis=a --workers=1",
		"--arrakis=a --slow=101", "--arrakis=a --wait=0s", "--arrakis=a --flood=9", "--arrakis=a --flood=3001 --rate=100",
		"--arrakis=a --only=weather", "--arrakis=a --no",
	} {
		if _, err := parseOptions(strings.Fields(args), io.Discard); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%s: %v", args, err)
		}
	}
	o, err := parseOptions([]string{"--arrakis=a", "--quick", "--rate=50"}, io.Discard)
	if err != nil || o.rate != 50 || o.flood != 1_000 || o.ackWait == 0 || o.line != "go run ./loadtest discord --quick=true --rate=50" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parseOptions([]string{"--arrakis=a", "--kill=0", "--workers=1", "--only=load"}, io.Discard); err != nil || o.kills() || o.does(sectionFlood) {
		t.Errorf("%+v, %v", o, err)
	}
}
