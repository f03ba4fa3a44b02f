// Keeps the parts of a page live. A part is an element with data-live; its value names it for /live, which sends its new
// HTML whenever it has changed. One connection serves all parts of a page; it is closed while the page is not seen.

import { logInLink } from "./api.js";
import { morph } from "./morph.js";

const listeners = new Map(); // event -> functions
let source; // EventSource, if one is open
let paused = false;
let again; // timer of the next try
let link; // to the log-in, while the session has ended

// onLive calls f with the data of each event of the name. It must be called before the page has loaded.
export function onLive(name, f) {
  listeners.set(name, [...(listeners.get(name) || []), f]);
}

function parts() {
  return [...new Set([...document.querySelectorAll("[data-live]")].map((e) => e.dataset.live))];
}

function address() {
  const query = new URLSearchParams(parts().map((name) => ["part", name]));
  if (listeners.size > 0) query.set("samples", "1");
  return "/live?" + query;
}

function show(word, tone) {
  const state = document.getElementById("state");
  if (!state || state.textContent === word) return;
  state.textContent = word;
  state.className = "state " + tone;
}

// loggedOut shows a link to the log-in in place of the log-out, or no longer.
function loggedOut(yes) {
  const logOut = document.querySelector(".session form");
  if (logOut) logOut.hidden = yes;
  if (yes && !link) document.getElementById("state").after(link = logInLink());
  if (yes || !link) return;
  link.remove();
  link = undefined;
}

function open() {
  clearTimeout(again);
  if (paused || document.hidden || source) return;
  if (!link) show("Connecting", "");
  source = new EventSource(address());
  source.addEventListener("open", () => {
    loggedOut(false);
    show("Live", "ok");
  });
  source.addEventListener("part", (event) => {
    const { part, html } = JSON.parse(event.data);
    for (const element of document.querySelectorAll("[data-live]")) if (element.dataset.live === part) morph(element, html);
  });
  for (const [name, functions] of listeners) {
    source.addEventListener(name, (event) => { for (const f of functions) f(JSON.parse(event.data)); });
  }
  source.addEventListener("error", async () => {
    if (source?.readyState !== EventSource.CLOSED) {
      show("Connecting", "warn"); // the browser tries again
      return;
    }
    close();
    again = setTimeout(open, 5000);
    const answer = await fetch(address(), { method: "HEAD" }).catch(() => null);
    if (answer) loggedOut(answer.status === 401);
    // 400: the page is from another version of arrakis.
    show({ 400: "Reload the page", 401: "Logged out", 503: "Busy" }[answer?.status] || "Offline", "bad");
  });
}

function close() {
  clearTimeout(again);
  source?.close();
  source = undefined;
}

function pause(button) {
  paused = !paused;
  button.setAttribute("aria-pressed", String(paused));
  if (paused) {
    close();
    show("Paused", "warn");
  } else {
    open();
  }
}

export function startLive() {
  const button = document.getElementById("pause");
  if (parts().length === 0 && listeners.size === 0) return;
  button.hidden = false;
  document.getElementById("state").hidden = false;
  button.addEventListener("click", () => pause(button));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener("pagehide", close); // a page in the browser's cache holds no connection
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
}
