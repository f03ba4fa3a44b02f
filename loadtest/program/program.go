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
