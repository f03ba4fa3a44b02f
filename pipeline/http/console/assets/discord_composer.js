// The line in which commands are typed, with a list of what could come next.

import { say } from "./api.js";
import { complete, leaves, parse } from "./discord_command.js";
import { make } from "./discord_text.js";

const flood = 20; // times that a command is sent at once

// startComposer brings the form to life. users are whom options can name. use sends a command: (deed, text, times); choices asks the application for the
// choices of an option.
export function startComposer(form, commands, users, { use, choices }) {
  const all = leaves(commands, users);
  const input = form.querySelector("input");
  const box = document.getElementById("completions");
  let shown = []; // what is in the list
  let at = -1; // the one that is chosen by keys
  let last = ""; // what was sent last
  let asked = 0; // counts, so that a late answer is dropped

  function show(list) {
    shown = list;
    at = -1;
    box.replaceChildren(...list.map((c, i) => {
      const row = make("div", "", make("strong", "", c.label), make("span", "muted", c.detail));
      row.id = "completion-" + i;
      row.role = "option";
      row.ariaSelected = "false";
      row.dataset.at = i;
      return row;
    }));
    box.hidden = list.length === 0;
    input.ariaExpanded = String(list.length > 0);
    input.removeAttribute("aria-activedescendant");
  }

  async function suggest() {
    const { list, ask } = complete(input.value, all);
    show(list);
    const mine = ++asked;
    if (!ask) return;
    const found = await choices({ name: ask.name, options: ask.options }).catch(() => []);
    if (mine === asked) show(found.map((c) => ({ text: ask.insert(c.value), label: c.name, detail: "" })));
  }

  function choose(i) {
    at = i;
    for (const [n, row] of [...box.children].entries()) row.ariaSelected = String(n === i);
    box.children[i]?.scrollIntoView({ block: "nearest" });
    if (i >= 0) input.setAttribute("aria-activedescendant", "completion-" + i);
  }

  function take(i) {
    input.value = shown[i].text;
    input.focus();
    suggest();
  }

  function submit(times) {
    const text = input.value.trim() || (times > 1 ? last || "/ping" : "");
    if (!text) return;
    const { fault, ...deed } = parse(text, all);
    if (fault) {
      say(fault);
      return;
    }
    last = text;
    input.value = "";
    asked++;
    show([]);
    use(deed, text, times);
  }

  input.addEventListener("input", suggest);
  input.addEventListener("focus", suggest);
  input.addEventListener("blur", () => show([]));
  input.addEventListener("keydown", (event) => {
    const n = shown.length;
    if (event.key === "ArrowUp" && input.value === "" && last) input.value = last;
    else if (event.key === "Escape") show([]);
    else if (n === 0) return;
    else if (event.key === "ArrowDown") choose((at + 1) % n);
    else if (event.key === "ArrowUp") choose((Math.max(at, 0) + n - 1) % n);
    else if (event.key === "Tab" && !event.shiftKey) take(Math.max(at, 0));
    else if (event.key === "Enter" && at >= 0) take(at);
    else return;
    event.preventDefault();
  });
  box.addEventListener("pointerdown", (event) => {
    const row = event.target.closest("[data-at]");
    if (!row) return;
    event.preventDefault(); // the input keeps the focus
    take(Number(row.dataset.at));
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.submitter?.id === "flood" ? flood : 1);
  });
}
