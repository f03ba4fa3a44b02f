package console

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// startDev builds arrakis, runs `arrakis dev` with the flags, and returns the URL of its console.
func startDev(t *testing.T, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "arrakis")
	if out, err := exec.CommandContext(t.Context(), "go", "-C", "../..", "build", "-o", program, "./cmd/arrakis").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dev := exec.CommandContext(t.Context(), program, append([]string{
		"dev", "--nats-port=0", "--redis-port=0", "--http-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0",
	}, flags...)...)
	dev.Cancel = func() error { return dev.Process.Signal(os.Interrupt) }
	dev.WaitDelay = testserver.Patience
	banner, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dev.Stdout, dev.Stderr = out, io.Discard
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Wait() }) // it was interrupted
	defer out.Close()                    //nolint:errcheck // the process has its own
	var text strings.Builder
	console := regexp.MustCompile(`(?m)^  console +(http\S+[^/\s])/?\s`)
	for buffer := make([]byte, 4096); ; {
		n, err := banner.Read(buffer)
		text.Write(buffer[:n])
		if m := console.FindStringSubmatch(text.String()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, banner) }() // ends with the process
			return m[1]
		}
		if err != nil {
			t.Fatalf("the banner does not say where the console is:\n%s", text.String())
		}
	}
}
