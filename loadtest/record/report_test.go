package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"arrakis/loadtest/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// good is the report of a run that meets all targets.
func good() *report {
	l := program.Latencies{Count: 9, P50: time.Millisecond, P99: 900 * time.Millisecond, Max: 2 * time.Second}
	return &report{
		Edits:   &editsResult{Sent: 9, Acked: l, InForce: l},
		Rebuild: &rebuildResult{Tenants: 7, Restored: 7, Took: time.Minute},
	}
}

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(r *report)
		failed bool
	}{
		"all is well":             {func(*report) {}, false},
		"late":                    {func(r *report) { r.Edits.InForce.P99 = 1001 * time.Millisecond }, true},
		"late in a quick run":     {func(r *report) { r.Edits.InForce.P99, r.o.quick = 2*time.Second, true }, false},
		"nothing measured":        {func(r *report) { r.Edits.InForce, r.o.quick = program.Latencies{}, true }, true},
		"never in force":          {func(r *report) { r.Edits.Never = 1 }, true},
		"an edit failed":          {func(r *report) { r.Edits.Failed = 1 }, true},
		"an edit was not started": {func(r *report) { r.Edits.Dropped = 1 }, true},
		"drift after the edits":   {func(r *report) { r.Edits.Drift = "1 missing" }, true},
		"a slow rebuild":          {func(r *report) { r.Rebuild.Took = 121 * time.Second }, true},
		"a tenant is missing":     {func(r *report) { r.Rebuild.Restored = 6 }, true},
		"drift after the rebuild": {func(r *report) { r.Rebuild.Drift = "1 missing" }, true},
		"a worker crashed":        {func(r *report) { r.Crashes = []string{"worker-1 ended by itself"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			tt.change(r)
			if r.judge(); r.Failed() != tt.failed {
				t.Errorf("failed: %t, want %t: %+v", r.Failed(), tt.failed, r.Targets)
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := good()
	r.judge()
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| an edit is in force on every worker, p99", "| 900.0 ms |", "| tenants in Redis then"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"--quick", "--rate", "300", "--arrakis", "a"}, io.Discard)
	if err != nil || o.rate != 300 || o.tenants != 20_000 || o.total() != 1500 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range []string{"--rate 1", "--duration 1ms", "--workers 0", "--tenants 0", "more", "--nonsense", ""} {
		argv := append(strings.Fields(args), "--arrakis", "a")
		if args == "" {
			argv = nil
		}
		if _, err := parseOptions(argv, io.Discard); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want an error of usage", args, err)
		}
	}
	if _, err := parseOptions([]string{"--help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}
