// Package program is what the programs of the load tests, loadtest/bench, faults, discord, record and rabbitmq, have in
// common: how they are called and end, the servers and workers that they start, what they print, and how their reports
// name the machine and the source.
package program

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrUsage is an error of the command line. Its text goes on with what is wrong.
var ErrUsage = errors.New("wrong usage")

// ExitCode returns the exit code of a program that ends with err, and says what is wrong: 0 for nil and flag.ErrHelp, 2
// for ErrUsage, and 1 for any other error.
func ExitCode(name string, err error, stderr io.Writer) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, ErrUsage):
		_, _ = fmt.Fprintln(stderr, err)
		return 2
	default:
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
}

// Dispatch runs run, or is the nats-server that a run has started as this program with the argument nats-server, and returns
// the exit code of the program.
func Dispatch(name string, args []string, stderr io.Writer, run func() error) int {
	var err error
	if len(args) > 1 && args[0] == "nats-server" {
		err = NATSServer(args[1:])
	} else {
		err = run()
	}
	return ExitCode(name, err, stderr)
}

// Parse reads a command line without arguments besides flags. help is what --help says before the flags. Errors are
// ErrUsage, or flag.ErrHelp.
func Parse(f *flag.FlagSet, help string, args []string, stderr io.Writer) error {
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = io.WriteString(stderr, help)
		f.PrintDefaults()
	}
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUsage, err)
	case f.NArg() > 0:
		return Wrong("unexpected %q: all settings are flags", f.Arg(0))
	}
	return nil
}

// Wrong is the ErrUsage of a flag whose value cannot be used.
func Wrong(format string, values ...any) error {
	return fmt.Errorf("%w: %s; see --help", ErrUsage, fmt.Sprintf(format, values...))
}

// SetOthers sets flags that the command line has not set. The values must be right.
func SetOthers(f *flag.FlagSet, values map[string]string) {
	set := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { set[fl.Name] = true })
	for name, value := range values {
		if set[name] {
			continue
		}
		if err := f.Set(name, value); err != nil {
			panic(fmt.Sprintf("--%s: %v", name, err))
		}
	}
}

// Line is the command line of a run as a person gives it, from the flags that are set. A report names it. --root and
// --arrakis are left out: `go run ./loadtest` sets them.
func Line(f *flag.FlagSet) string {
	line := []string{"go run ./loadtest", f.Name()}
	f.Visit(func(fl *flag.Flag) {
		if fl.Name != "root" && fl.Name != "arrakis" {
			value := fl.Value.String()
			if strings.Contains(value, " ") {
				value = strconv.Quote(value)
			}
			line = append(line, "--"+fl.Name+"="+value)
		}
	})
	return strings.Join(line, " ")
}
