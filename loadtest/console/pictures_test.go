package console

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"arrakis/loadtest/testserver"
)

var pictures = flag.String("pictures", "", "folder into which the pictures of the README are written")

// pictured are the pictures of the README.
var pictured = []struct {
	file, path, scheme string
	width, height      int64
	ready              string // JavaScript: the page shows what it is pictured for
}{
	{"overview", "/", "light", 1280, 860, `!!document.querySelector(".badge.warn")`},
	{"overview-dark", "/", "dark", 1280, 860, `!!document.querySelector(".badge.warn")`},
	{"waiting", "/waiting", "light", 1280, 640, `!document.body.innerText.includes("No community is in a lane")`},
	{"tenant", "/tenants/comm_030", "light", 1280, 960, `document.body.innerText.includes("rejected now")`},
	{"deadletters", "/deadletters", "light", 1280, 620, `document.body.innerText.includes("attempts exhausted")`},
}

// TestPictures writes the pictures of the README, of `arrakis dev --traffic` after some minutes. It runs only with the
// flag -pictures.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("run with -pictures FOLDER")
	}
	ops := startDev(t)
	watching := newTab(t, ops, wide, height) // so that the charts have a past
	watching.open("/")
	time.Sleep(4 * time.Minute) //nolint:forbidigo // the charts show five minutes
	for _, p := range pictured {
		b := newTab(t, ops, p.width, p.height)
		b.prefer(p.scheme)
		b.open(p.path)
		b.eventually("there is something to see at "+p.path, p.ready)
		b.eventually("the page is drawn", `document.fonts.status === "loaded"`)
		shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*pictures, p.file+".png"), shot.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// startDev builds arrakis, runs `arrakis dev --traffic`, and returns the URL of its console.
func startDev(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "arrakis")
	if out, err := exec.CommandContext(t.Context(), "go", "-C", "../..", "build", "-o", program, "./cmd/arrakis").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dev := exec.CommandContext(t.Context(), program, "dev", "--traffic", "--retry-backoff=1s",
		"--nats-port=0", "--redis-port=0", "--http-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0")
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
