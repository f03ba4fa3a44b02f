package console

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// chatTab opens the chat of `arrakis dev --discord` in a tab of its own.
func chatTab(t *testing.T, ops string) *tab {
	t.Helper()
	b := newTab(t, ops, wide, height)
	b.open("/discord")
	b.eventually("there are places", `document.querySelectorAll("#who [name=place] option").length > 1`)
	return b
}

// choose chooses an option that shows the text.
func (b *tab) choose(selector, text string) {
	b.t.Helper()
	option := element(selector+" option", text)
	b.eventually("there is "+text, "!!"+option)
	b.fill(selector, eval[string](b, option+".value"))
}

// say types a command and sends it.
func (b *tab) say(text string) {
	b.t.Helper()
	b.fill("#composer input", text)
	b.key(kb.Enter)
}

// messages is the JavaScript expression of the messages that show the text.
func messages(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#messages > li")].filter(e => e.innerText.includes(%s))`, quote(text))
}

// The chat does what Discord does: it shows answers, deferrals and what takes their place, refusals for one's eyes in
// one's language, buttons, menus and forms.
func TestDiscordChat(t *testing.T) {
	ops := startDev(t, "--discord")
	t.Run("page", func(t *testing.T) {
		for _, width := range []int64{narrow, wide} {
			for _, scheme := range []string{"light", "dark"} {
				b := newTab(t, ops, width, height)
				b.prefer(scheme)
				checkPage(t, b, "Discord", "/discord")
			}
		}
	})
	t.Run("answer", func(t *testing.T) {
		b := chatTab(t, ops)
		b.choose("#who [name=place]", "Sietch Tabr")
		b.say("/ping")
		b.eventually("there is an answer", messages("pong")+`.length === 1`)
		b.say("/echo text:as it is mood:calm")
		b.eventually("options arrive", messages(`"text": "as it is"`)+`[0]?.innerText.includes('"mood": "calm"')`)
	})
	t.Run("deferral", func(t *testing.T) {
		b := chatTab(t, ops)
		b.choose("#who [name=place]", "Sietch Tabr")
		eval[bool](b, `(new MutationObserver(() => { window.thought ||= `+messages("arrakis is thinking")+`.length === 1 })
			.observe(document.getElementById("messages"), {childList: true, subtree: true, characterData: true}), true)`)
		b.say("/sleep ms:3000")
		b.eventually("it has slept", messages(`"slept_ms": 3000`)+`.length === 1 && `+messages("is thinking")+`.length === 0`)
		if !eval[bool](b, "!!window.thought") {
			t.Error("the page did not say that it is thinking")
		}
	})
	t.Run("flood", func(t *testing.T) {
		b := chatTab(t, ops)
		b.choose("#who [name=place]", "Carthag")
		b.choose("#who [name=locale]", "Deutsch")
		b.fill("#composer input", "/ping")
		b.click("#flood", "Send 20")
		b.eventually("ten are answered", messages("pong")+`.length === 10`)
		b.eventually("others are refused, in German, with a time that is counted down, for one's eyes",
			messages("Only you can see this")+`.some(e => /zu viele Befehle/.test(e.innerText) && /in \d+ Sekunden?|jetzt/.test(e.querySelector("time[data-relative]")?.innerText))`)
		other := chatTab(t, ops)
		other.choose("#who [name=user]", "chani")
		other.choose("#who [name=place]", "Carthag")
		other.eventually("somebody else sees the answers alone", messages("pong")+`.length === 10 && `+messages("Only you can see this")+`.length === 0`)
		refused := eval[string](b, messages("Only you can see this")+`[0].dataset.key`)
		b.click(`#messages > [data-key="`+refused+`"] button`, "Dismiss")
		b.eventually("it is dismissed", `!document.querySelector('#messages > [data-key="`+refused+`"]')`)
	})
	t.Run("components", func(t *testing.T) {
		b := chatTab(t, ops)
		b.choose("#who [name=place]", "Heighliner")
		b.say("/panel")
		b.shows("Press a button, or choose a house.")
		b.choose("[data-choose]", "Corrino")
		b.shows("House Corrino it is.")
		b.click("[data-press]", "Harvest")
		b.shows("Harvested")
		b.click("[data-press]", "Say your name")
		b.eventually("there is a form", `document.getElementById("modal").open`)
		b.fill("#modal input", "Usul")
		b.click("#modal button", "Submit")
		b.shows("Well met, Usul.")
		if n := eval[int](b, `document.querySelectorAll("#messages > li").length`); n != 2 {
			t.Errorf("%d messages, want that of /panel, which has changed, and the greeting", n)
		}
	})
	t.Run("premium", func(t *testing.T) {
		b := chatTab(t, ops)
		b.choose("#who [name=place]", "Arrakeen")
		b.say("/stats")
		b.shows(`"tier": "free"`)
		b.click("#premium", "Buy Premium")
		b.eventually("it is bought", `document.getElementById("premium").textContent === "End Premium"`)
		b.say("/stats")
		b.shows(`"tier": "pro"`)
		b.click("#premium", "End Premium")
		b.eventually("it has ended", `document.getElementById("premium").textContent === "Buy Premium"`)
		b.say("/stats")
		b.eventually("it is free again", messages(`"tier": "free"`)+`.length === 2`)
	})
	t.Run("keys", func(t *testing.T) {
		b := chatTab(t, ops)
		b.fill("#composer input", "/pi")
		b.eventually("commands are offered", `document.querySelectorAll("#completions [role=option]").length === 1`)
		b.key(kb.Tab)
		if got := eval[string](b, `document.querySelector("#composer input").value`); got != "/ping " {
			t.Errorf("Tab made it %q", got)
		}
		b.fill("#composer input", "/echo text:x mood:")
		b.key(kb.ArrowDown)
		b.key(kb.ArrowDown)
		// A key that is pressed by the protocol is typed even if the page prevents it.
		eval[bool](b, `document.querySelector("#composer input").dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true}))`)
		if got := eval[string](b, `document.querySelector("#composer input").value`); got != "/echo text:x mood:loud " {
			t.Errorf("the arrow keys and Enter made it %q", got)
		}
		b.fill("#composer input", "/panel house:co")
		b.eventually("the application is asked what it could be", element("#completions [role=option]", "Corrino")+`?.checkVisibility()`)
		b.say("/nothing")
		b.shows("There is no command /nothing.")
	})
}

// What is typed becomes what Discord would send, or a sentence about what is wrong.
func TestDiscordCommandLine(t *testing.T) {
	b := newTab(t, newSite(t, nil).ops, wide, height)
	b.open("/")
	eval[bool](b, `import(document.querySelector("script[src$='/app.js']").src.replace("app.js", "discord_command.js")).then(m => {
		const string = 3, integer = 4, boolean = 5, user = 6, number = 10;
		window.command = m;
		window.all = m.leaves([
			{name: "ping", description: "Answers"}, {name: "High Five", type: 2},
			{name: "ban", options: [
				{name: "who", type: string, required: true}, {name: "days", type: integer}, {name: "quiet", type: boolean}, {name: "share", type: number},
				{name: "why", type: string, choices: [{name: "spam", value: "SPAM"}, {name: "raid", value: "RAID"}]}, {name: "note", type: string, autocomplete: true}]},
			{name: "warn", options: [{name: "user", type: user}, {name: "points", type: integer, min_value: 0, max_value: 9}]},
			{name: "role", options: [
				{name: "user", type: 2, options: [{name: "add", type: 1, options: [{name: "to", type: string}]}, {name: "list", type: 1}]},
				{name: "all", type: 1}]},
		], [{id: "201", name: "paul"}, {id: "202", name: "chani"}]);
		return true;
	})`)
	for _, tt := range []struct{ typed, want string }{
		{"/ping", `{"name":"ping","options":[]}`},
		{"  /ping  ", `{"name":"ping","options":[]}`},
		{"/ban who:a b  c days:3 quiet:TRUE share:-0.5 why:raid", `{"name":"ban","options":[{"name":"who","type":3,"value":"a b  c"},{"name":"days","type":4,"value":3},{"name":"quiet","type":5,"value":true},{"name":"share","type":10,"value":-0.5},{"name":"why","type":3,"value":"RAID"}]}`},
		{"/ban who:https://a.b/c:d days:", `{"name":"ban","options":[{"name":"who","type":3,"value":"https://a.b/c:d"}]}`},
		{"/role user add to:x", `{"name":"role","options":[{"name":"user","type":2,"options":[{"name":"add","type":1,"options":[{"name":"to","type":3,"value":"x"}]}]}]}`},
		{"/role all", `{"name":"role","options":[{"name":"all","type":1,"options":[]}]}`},
		{"/warn user:chani points:9", `{"name":"warn","options":[{"name":"user","type":6,"value":"202"},{"name":"points","type":4,"value":9}]}`},
		{"/warn user:201", `{"name":"warn","options":[{"name":"user","type":6,"value":"201"}]}`},
		{"hello", `{"fault":"Here are only commands: type / to see them."}`},
		{"/pong now", `{"fault":"There is no command /pong."}`},
		{"/pingx", `{"fault":"There is no command /pingx."}`},
		{"/role", `{"fault":"There is no command /role."}`},
		{"/ping now", `{"fault":"/ping has no options."}`},
		{"/ban somebody", `{"fault":"Write options as who:value."}`},
		{"/ban days:3", `{"fault":"/ban needs who:…"}`},
		{"/ban who:x days:3.5", `{"fault":"days: a whole number"}`},
		{"/ban who:x quiet:maybe", `{"fault":"quiet: true or false"}`},
		{"/ban who:x share:half", `{"fault":"share: a number"}`},
		{"/ban who:x why:fun", `{"fault":"why: choose one of spam, raid"}`},
		{"/warn user:leto", `{"fault":"user: choose one of paul, chani"}`},
		{"/warn points:10", `{"fault":"points: a whole number from 0 to 9"}`},
		{"/warn points:-1", `{"fault":"points: a whole number from 0 to 9"}`},
	} {
		if got := eval[string](b, "JSON.stringify(command.parse("+quote(tt.typed)+", all))"); got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.typed, got, tt.want)
		}
	}
	for _, tt := range []struct{ typed, want string }{
		{"/", "/ban |/ping |/role all |/role user add |/role user list |/warn "},
		{"/p", "/ping "},
		{"/ping", ""},
		{"/ping ", ""},
		{"/role u", "/role user add |/role user list "},
		{"/ban ", "/ban who:|/ban days:|/ban quiet:|/ban share:|/ban why:|/ban note:"},
		{"/ban who:x d", ""}, // d may be of the value
		{"/ban who:x ", "/ban who:x days:|/ban who:x quiet:|/ban who:x share:|/ban who:x why:|/ban who:x note:"},
		{"/ban why:", "/ban why:spam |/ban why:raid "},
		{"/ban why:r", "/ban why:raid "},
		{"/warn user:c", "/warn user:chani "},
		{"/ban quiet:t", "/ban quiet:true "},
		{"hello", ""},
	} {
		if got := eval[string](b, "command.complete("+quote(tt.typed)+", all).list.map(c => c.text).join('|')"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.typed, got, tt.want)
		}
	}
	asked := eval[string](b, `(({name, options, insert}) => JSON.stringify({name, options, text: insert("Y")}))(command.complete("/ban who:x days:y note:n", all).ask)`)
	if want := `{"name":"ban","options":[{"name":"who","type":3,"value":"x"},{"name":"note","type":3,"value":"n","focused":true}],"text":"/ban who:x days:y note:Y "}`; asked != want {
		t.Errorf("the application is asked %s, want %s", asked, want)
	}
}
