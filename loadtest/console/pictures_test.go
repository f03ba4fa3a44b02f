package console

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
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
	ops := startDev(t, "--traffic", "--retry-backoff=1s")
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
