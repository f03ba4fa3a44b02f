package main

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the tests' binary be nats-server and the contenders, as the benchmark's own binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "nats-server" || os.Args[1] == "contender") {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}
