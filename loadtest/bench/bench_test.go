package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver"
)

func setup(t *testing.T) *servers {
	t.Helper()
	testserver.Program(t, "redis-server")
	s, err := startServers(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// Every contender empties a stream, and admits what the limits allow.
func TestContendersOfThePipeline(t *testing.T) {
	s := setup(t)
	for _, name := range pipelineContenders {
		t.Run(string(name), func(t *testing.T) {
			m, err := s.run(t.Context(), pipelineRun{
				contender: name, mix: workload.Tiers, storage: jetstream.MemoryStorage,
				messages: 5_000, communities: workload.Communities,
			})
			if err != nil {
				t.Fatal(err)
			}
			if m.rate < 100 || m.cpu <= 0 || m.memory <= 0 {
				t.Errorf("measured %+v", m)
			}
			// 500 of unlimited communities, 50 each of the 90 others, of which pro admits all and free 10 each.
			const want = 500 + 20*50 + 70*10
			if name != contender.Bare && (m.admitted < want*8/10 || m.admitted > want*12/10) {
				t.Errorf("%d admitted, want about %d", m.admitted, want)
			}
			if name == contender.Arrakis && m.over != 0 {
				t.Errorf("%d admitted above the limits", m.over)
			}
		})
	}
}

func TestProcessesShareAStream(t *testing.T) {
	s := setup(t)
	m, err := s.run(t.Context(), pipelineRun{
		contender: contender.Arrakis, mix: workload.Steady, storage: jetstream.FileStorage,
		messages: 2_000, communities: 200, processes: 2, warm: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.over != 0 || m.heap <= 0 {
		t.Errorf("measured %+v", m)
	}
	// Steady admits a tenth of the messages, and one of each limited community.
	if want := int64(200 + 20 + 180); m.admitted < want*8/10 || m.admitted > want*12/10 {
		t.Errorf("%d admitted, want about %d", m.admitted, want)
	}
}

// Gubernator's processes are peers, so that two of them admit no more than one.
func TestGubernatorSharesItsLimits(t *testing.T) {
	b := &bench{servers: setup(t)}
	m, err := b.decide(t.Context(), contender.Gubernator, workload.Tiers, trialDecisions)
	if err != nil {
		t.Fatal(err)
	}
	if m.over != 0 {
		t.Errorf("%d admitted above the limits", m.over)
	}
	// 1,000 of unlimited communities; 100 each of the 90 others, of which pro admits about all and free 10 each.
	const want = 1_000 + 20*95 + 70*10
	if m.admitted < want*8/10 || m.admitted > want*12/10 {
		t.Errorf("%d admitted, want about %d", m.admitted, want)
	}
}

// A small benchmark of all that is not a pipeline alone, from flags to report.
func TestBenchmark(t *testing.T) {
	testserver.Program(t, "redis-server")
	out := t.TempDir()
	o, err := parseOptions([]string{"--quick", "--only", "decisions,requests", "--out", out}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	o.size = size{run: 50 * time.Millisecond, latency: 200 * time.Millisecond, saturated: 100 * time.Millisecond}
	var stdout, progress bytes.Buffer
	if err := benchmark(t.Context(), o, &stdout, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, want := range []string{"limiter-single", "redis_rate", "gubernator", "go-limiter", "minimal", "ingress", "Targets"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, stdout.String())
		}
	}
	for line := range strings.Lines(stdout.String()) {
		if len(line) > report.Width+1 {
			t.Errorf("wider than %d: %s", report.Width, line)
		}
	}
	for _, name := range []string{"report.md", "requests.svg", "decisions-refused.svg", "decisions-charged.svg"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
}

// What was started ends with the benchmark, also when that is interrupted.
func TestInterruptEndsEverything(t *testing.T) {
	testserver.Program(t, "redis-server")
	ctx, cancel := context.WithCancel(t.Context())
	o, err := parseOptions([]string{"--only", "memory", "--out", t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	progress := &interrupter{on: "warming up", interrupt: cancel}
	if err := benchmark(ctx, o, io.Discard, progress); err == nil {
		t.Error("an interrupted benchmark reports no error")
	}
	if self, err := os.Executable(); err != nil || len(processesOf(t, self)) > 0 {
		t.Errorf("still running: %v (%v)", processesOf(t, self), err)
	}
}

// interrupter calls interrupt when a text is written to it.
type interrupter struct {
	on        string
	interrupt func()
}

func (i *interrupter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), i.on) {
		i.interrupt()
	}
	return len(p), nil
}

// processesOf lists the processes of a binary that are children of this one.
func processesOf(t *testing.T, binary string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		target, err := os.Readlink(link)
		if err == nil && target == binary && !strings.HasPrefix(link, "/proc/"+pid()+"/") {
			found = append(found, link)
		}
	}
	return found
}

func pid() string {
	target, err := os.Readlink("/proc/self")
	if err != nil {
		return ""
	}
	return target
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"--runs", "0x"}, {"--runs", "-1"}, {"--only", "nothing"}, {"more"}} {
		if _, err := parseOptions(args, io.Discard); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%v: error %v, want one of usage", args, err)
		}
	}
	if _, err := parseOptions([]string{"--help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: error %v", err)
	}
	o, err := parseOptions([]string{"--root", "/r", "--runs", "5", "--only", "memory,start"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := "go run ./loadtest bench --only=memory,start --runs=5"; o.line != want {
		t.Errorf("the command is shown as %q, want %q", o.line, want)
	}
	if !slices.Equal(o.only, []string{"memory", "start"}) || o.runs != 5 || o.run != fullSize.run {
		t.Errorf("parsed as %+v", o)
	}
}

func TestMissingRedisSaysHowToInstallIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"--out", t.TempDir()}, io.Discard, &stderr); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.Contains(stderr.String(), "apt-get install redis-server") {
		t.Errorf("says %q", stderr.String())
	}
}

func TestCountFindsAdmissionsAboveLimits(t *testing.T) {
	admitted := func(at map[int]int64) contender.Result {
		r := contender.Result{Admitted: make([]int64, workload.Communities)}
		for i, n := range at {
			r.Admitted[i] = n
		}
		return r
	}
	var m measurement
	// Community 0 is unlimited, 10 has 100, 30 and 31 have 10.
	m.count([]contender.Result{
		admitted(map[int]int64{0: 1_000, 10: 60, 30: 10}),
		admitted(map[int]int64{10: 60, 31: 13}),
	}, workload.Tiers)
	if m.over != 20+3 || m.admitted != 1_000+120+10+13 {
		t.Errorf("%d admitted, %d above the limits", m.admitted, m.over)
	}
}

func TestPercentile(t *testing.T) {
	sorted := make([]time.Duration, 100)
	for i := range sorted {
		sorted[i] = time.Duration(i + 1)
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := percentile(sorted, share); got != want {
			t.Errorf("percentile %v is %d, want %d", share, got, want)
		}
	}
	if percentile(nil, 0.5) != 0 {
		t.Error("a percentile of nothing")
	}
}

func TestMessagesFor(t *testing.T) {
	for rate, want := range map[float64]int{10: 1_000, 50_400: 101_000, 1e9: mostMessages} {
		if got := messagesFor(rate, 2*time.Second); got != want {
			t.Errorf("%v/s for 2 s: %d messages, want %d", rate, got, want)
		}
	}
}
