package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"arrakis/loadtest/program"
)

// good is what a run that meets its targets has shown.
func good() *result {
	return &result{
		Messages: 1_000, Permits: 1_000, Bridge: bridgeCounts{Empty: true, Match: true},
		Kills: []strike{{"RabbitMQ", 250}, {"the bridge", 500}, {"NATS", 750}},
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	o := options{messages: 1_000}
	for name, spoil := range map[string]func(*result){
		"lost":      func(r *result) { r.Lost = 1 },
		"charged":   func(r *result) { r.Permits++ },
		"strangers": func(r *result) { r.Strangers = 1 },
		"letters":   func(r *result) { r.DeadLetters = 1 },
		"left":      func(r *result) { r.Left = 1 },
		"not empty": func(r *result) { r.Bridge.Empty = false },
		"exit code": func(r *result) { r.BridgeFailed = "exit status 1" },
		"late":      func(r *result) { r.Kills[2].Stored = 1_000 },
	} {
		r := good()
		if rep := (&report{Report: program.Report{Targets: r.targets(o)}, Result: r, o: o}); rep.Failed() {
			t.Fatalf("%+v", rep.Targets)
		}
		spoil(r)
		rep := &report{Report: program.Report{Targets: r.targets(o)}, Result: r, o: o}
		var b bytes.Buffer
		if err := rep.write(&b); err != nil || !rep.Failed() || strings.Count(b.String(), "| missed |") != 1 {
			t.Errorf("%s: %v\n%s", name, err, b.String())
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if o, err := parseOptions([]string{"--arrakis=a"}, io.Discard); err != nil || o.messages != 100_000 || o.queue != quorum {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range []string{"", "--arrakis=a --messages=1", "--arrakis=a --queue=stream", "--arrakis=a x"} {
		if _, err := parseOptions(strings.Fields(args), io.Discard); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
