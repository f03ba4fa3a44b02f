package console

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

var pictures = flag.String("pictures", "", "folder into which the pictures are written")

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
		b.picture(p.file)
	}
}

// TestPicturesOfChat writes the pictures of docs/discord.md, of `arrakis dev --discord`. It runs only with the flag -pictures.
func TestPicturesOfChat(t *testing.T) {
	if *pictures == "" {
		t.Skip("run with -pictures FOLDER")
	}
	ops := startDev(t, "--discord")
	chat := func(place, locale string) *tab {
		b := newTab(t, ops, 1000, 620)
		b.prefer("light")
		b.open("/discord")
		b.choose("#who [name=place]", place)
		b.choose("#who [name=locale]", locale)
		return b
	}
	b := chat("Arrakeen", "English")
	for n := range 11 { // one more than the limit
		b.say("/ping")
		b.eventually("there is an answer", fmt.Sprintf("document.querySelectorAll('#messages > li:not(.sending)').length === %d", n+1))
	}
	b.shows("Only you can see this")
	b.picture("discord-limit")
	b = chat("Heighliner", "English")
	b.say("/panel")
	b.shows("Press a button, or choose a house.")
	b.say("/sleep ms:4000")
	b.shows("arrakis is thinking")
	b.picture("discord-thinking")
}

// picture writes a picture of the tab.
func (b *tab) picture(name string) {
	b.t.Helper()
	b.eventually("the page is drawn", `document.fonts.status === "loaded"`)
	shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*pictures, name+".png"), shot.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
