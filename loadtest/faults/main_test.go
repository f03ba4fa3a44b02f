package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver"
)

// TestMain lets the tests' binary be nats-server, as the program's own binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "nats-server" {
		os.Exit(dispatch(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// buildArrakis builds the binary of the workers. Without redis-server the test is skipped at home, and fails in CI.
func buildArrakis(t *testing.T) string {
	t.Helper()
	testserver.Program(t, "redis-server")
	binary := filepath.Join(t.TempDir(), "arrakis")
	build := exec.CommandContext(t.Context(), "go", "-C", "../..", "build", "-o", binary, "./cmd/arrakis")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build arrakis: %v\n%s", err, out)
	}
	return binary
}

// A run with faults that arrakis must survive finds nothing, and the same run with faults that nobody could survive
// finds each of them: messages taken out of the stream, and permits that no limit allows.
func TestRunFindsWhatIsWrong(t *testing.T) {
	o := options{nodes: 1, messages: 1_500, seed: 7, onRedisDown: "closed", arrakis: buildArrakis(t)}
	t.Run("nothing", func(t *testing.T) {
		kinds, unknown := kindsNamed([]string{"worker killed", "half-open to Redis"})
		if unknown != "" {
			t.Fatal(unknown)
		}
		o := o
		o.kinds, o.faults = kinds, len(kinds)
		res, progress := runFor(t, o)
		if res.failed() || len(res.Faults) != len(kinds) || res.Messages.Acknowledged != o.messages+len(kinds)*burstMessages {
			t.Errorf("got %+v\n%s", res, progress)
		}
		if res.Messages.Endings[audit.Handled] < o.messages/2 || res.Windows.Admissions < o.messages/4 {
			t.Errorf("the audit has seen %v, and %d admissions", res.Messages.Endings, res.Windows.Admissions)
		}
	})
	t.Run("lost and over", func(t *testing.T) {
		o := o
		o.kinds = []faultKind{{name: "stream emptied", inject: emptyStream}, {name: "limit exceeded", inject: exceedLimit}}
		o.faults = len(o.kinds)
		res, progress := runFor(t, o)
		if len(res.Messages.Lost) == 0 || !res.failed() {
			t.Errorf("no message is lost: %+v\n%s", res.Messages, progress)
		}
		if res.Windows.Over != 2 || len(res.Windows.Worst) != 1 {
			t.Errorf("%d over, %q; want 2 of one limit", res.Windows.Over, res.Windows.Worst)
		}
		var text strings.Builder
		rep := &report{o: o, runs: []*result{res}}
		if err := rep.write(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{res.Messages.Lost[0], "tight_0:sync_request: 12 of 10 in a window", "stream emptied"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the report does not say %q:\n%s", want, text.String())
			}
		}
	})
}

func runFor(t *testing.T, o options) (*result, string) {
	t.Helper()
	var shown bytes.Buffer
	res, err := runOnce(t.Context(), o, t.TempDir(), program.NewProgress(&shown))
	if err != nil {
		t.Fatalf("%v\n%s", err, shown.String())
	}
	return res, shown.String()
}

// emptyStream takes messages away that were acknowledged: what a broker that loses its disk does.
func emptyStream(ctx context.Context, r *run, _ *rand.Rand, _ *fault) error {
	stream, err := r.js.Stream(ctx, "COMMANDS")
	if err != nil {
		return err
	}
	if _, err := stream.PauseConsumer(ctx, "command-worker", time.Now().Add(3*time.Second)); err != nil {
		return err
	}
	return errors.Join(program.Pause(ctx, 2*time.Second), stream.Purge(ctx))
}

// exceedLimit admits two messages more than the limit of a community allows.
func exceedLimit(ctx context.Context, r *run, _ *rand.Rand, _ *fault) error {
	now, err := r.redis.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	key := limitKey("tight_0", syncing.action)
	file, err := r.redis.appendOnly()
	if err != nil {
		return err
	}
	log, err := os.Open(file)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // it is read
	admissions, err := audit.ReadLog(log, limitPrefix, nil)
	if err != nil {
		return err
	}
	had := len(slices.DeleteFunc(admissions, func(a audit.Admission) bool { return a.Key != key }))
	for i := range tightSyncs + 2 - had {
		z := redis.Z{Score: float64(now.UnixMilli()), Member: 1_000 + i}
		if err := r.redis.client.ZAdd(ctx, key, z).Err(); err != nil {
			return err
		}
	}
	return nil
}

// A run of a plan has every kind once before it has one twice, and the same plan for the same seed.
func TestPlan(t *testing.T) {
	draw := func(seed uint64, o options) []string {
		t.Helper()
		kinds, err := plan(rand.New(rand.NewPCG(seed, 1)), o, true)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, k := range kinds {
			names = append(names, k.name)
		}
		return names
	}
	o := options{faults: len(faultKinds), nodes: 3, kinds: faultKinds}
	names := draw(1, o)
	if !slices.Equal(names, draw(1, o)) || slices.Equal(names, draw(2, o)) {
		t.Error("the seed does not decide")
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(faultKinds) {
		t.Errorf("%v is not every kind once", names)
	}
	o.nodes = 1
	if slices.ContainsFunc(draw(1, o), func(name string) bool { return strings.Contains(name, "leader") }) {
		t.Error("one nats-server leads alone")
	}
	o.kinds = o.kinds[len(o.kinds)-1:]
	if _, err := plan(rand.New(rand.NewPCG(1, 1)), o, true); !errors.Is(err, program.ErrUsage) {
		t.Errorf("without a kind: %v", err)
	}
}

func TestOptions(t *testing.T) {
	if _, err := parseOptions([]string{"--help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
	for _, args := range [][]string{
		{},
		{"--arrakis=a", "x"},
		{"--arrakis=a", "--faults=0"},
		{"--arrakis=a", "--messages=1"},
		{"--arrakis=a", "--nodes=2"},
		{"--arrakis=a", "--runs=0"},
		{"--arrakis=a", "--on-redis-down=open"},
		{"--arrakis=a", "--only=weather"},
		{"--arrakis=a", "--no"},
	} {
		if _, err := parseOptions(args, io.Discard); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	o, err := parseOptions([]string{"--arrakis=a", "--nodes=3", "--only=worker killed,stream full"}, io.Discard)
	if err != nil || len(o.kinds) != 2 || o.line != `go run ./loadtest faults --nodes=3 --only="worker killed,stream full"` {
		t.Errorf("%+v, %v", o, err)
	}
}
