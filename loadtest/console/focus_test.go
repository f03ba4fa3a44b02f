package console

import (
	"slices"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/worker"
)

// A live part that changes takes the focus from nobody: it moves with its row, and where the row is gone, it stays near.
func TestFocusStaysInLiveParts(t *testing.T) {
	s := newSite(t, nil)
	b := newTab(t, s.ops, wide, height)
	b.open("/streams")
	got := eval[[]string](b, `(async () => {
		const { morph } = await import(document.querySelector("script[src$='app.js']").src.replace("app.js", "morph.js"));
		const box = document.getElementById("main").appendChild(document.createElement("div"));
		const row = (id) => "<tr data-key=" + id + "><td><a href=/" + id + ">" + id + "</a></td></tr>";
		const table = (...ids) => "<div class=scroll tabindex=0 id=around><table><tbody>" + ids.map(row).join("") + "</tbody></table></div>";
		const focus = [];
		const show = (html) => { morph(box, html); focus.push(document.activeElement.id || document.activeElement.textContent) };
		morph(box, table("a", "b", "c"));
		box.querySelector("a[href='/c']").focus();
		show(table("c", "a", "b"));
		show(table("a", "b", "c", "d"));
		box.querySelector("a[href='/a']").focus();
		show(table("d", "c", "b", "a"));
		show(table("b", "c"));
		show("<p>There are none.</p>");
		return focus;
	})()`)
	if want := []string{"c", "c", "a", "around", "main"}; !slices.Equal(got, want) {
		t.Errorf("the focus was on %v, want %v", got, want)
	}
}

// While a bulk run goes on, the keyboard is at the button that stops it, and only its end is read out.
func TestFocusInBulkRun(t *testing.T) {
	s := newSite(t, func(o *worker.Options) { o.MaxAttempts = 1 })
	s.command("comm_1", "fail")
	testserver.Eventually(t, "there is a dead letter", func() bool { return s.deadLetters() == 1 })
	b := newTab(t, s.ops, wide, height)
	b.open("/deadletters")
	b.click("#rows input[name=seq]", "")
	eval[bool](b, `(window.fetch = () => new Promise((_, fail) => { window.endRun = fail }), true)`)
	b.click("#bulk button", "Delete")
	b.eventually("it asks, and the safe answer has the focus", `document.getElementById("question").open && document.activeElement.value === "no"`)
	b.click("#question button[value=yes]", "")
	b.eventually("the button that stops it has the focus", `document.activeElement.id === "run-stop" && document.getElementById("run-text").ariaBusy === "true"`)
	b.click("#run-stop", "")
	eval[bool](b, `(window.endRun(new Error("away")), true)`)
	b.eventually("its end is read out", `document.getElementById("run-text").ariaBusy === "false" && document.activeElement.id === "run-stop"`)
}

// Without a script a page shows what there is, says so first, and has no control that would do nothing.
func TestWithoutScript(t *testing.T) {
	s := newSite(t, nil)
	s.put("comm_1", `{"tier":"free"}`)
	b := newTab(t, s.ops, narrow, height)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/tenants/comm_1", "/deadletters", "/streams"} {
		b.open(path)
		if !eval[bool](b, `/^Without JavaScript/.test(document.getElementById("main").innerText.trim())`) {
			t.Errorf("%s does not say so", path)
		}
		if found := eval[string](b, `[...document.querySelectorAll("form[data-api], form[data-flag], #bulk, #pause")].filter(e => e.checkVisibility()).map(e => e.outerHTML).join()`); found != "" {
			t.Errorf("%s shows controls that do nothing: %s", path, found)
		}
	}
}
