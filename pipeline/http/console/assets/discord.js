// The page of the chat with a Discord that is played: who one is and where, what is seen there, and what is sent. The
// server's side is loadtest/testserver/fakediscord/chat.

import { Problem, clearProblem, request, say, showProblem } from "./api.js";
import { startComposer } from "./discord_composer.js";
import { colour, messageRow, sendingRow } from "./discord_message.js";
import { openModal } from "./discord_modal.js";
import { tick } from "./discord_text.js";
import { morph } from "./morph.js";

const chat = document.getElementById("discord-chat");
const who = document.getElementById("who");
const list = document.getElementById("messages");
const premium = document.getElementById("premium");

// The types of interactions and of answers.
const command = 2, component = 3, complete = 4, modal = 5, answerModal = 9;

let names = new Map(); // of users, by ID
let source; // of what is seen
let again; // timer of the next try
let messages = [];
let sending = []; // {key, user, text, before}: was sent, and is not seen yet
let dismissed = new Set();
let sent = 0;

const here = () => ({ place: who.place.value, user: who.user.value, locale: who.locale.value });

// start fills the choices. What was chosen before in this tab is chosen again.
async function start() {
  const all = await request("GET", "/discord/start");
  names = new Map(all.users.map((u) => [u.id, u.name]));
  const before = JSON.parse(sessionStorage.getItem("arrakis-discord") ?? "{}");
  fill(who.place, all.places, before.place, (p) => (p.note ? `${p.name} (${p.note})` : p.name));
  fill(who.user, all.users, before.user, (u) => u.name);
  fill(who.locale, all.locales, before.locale, (l) => l.name);
  if (premium) premium.hidden = !all.sells;
  who.addEventListener("change", move);
  move();
  const form = document.getElementById("composer");
  if (form) {
    startComposer(form, all.commands, all.users, {
      use: (deed, text, times) => act({ type: command, ...deed, times }, text),
      choices: async (deed) => (await send({ type: complete, ...deed })).data?.choices ?? [],
    });
  }
}

function fill(select, choices, chosen, label) {
  select.replaceChildren(...choices.map((c) => new Option(label(c), c.id, false, c.id === chosen)));
}

// move shows another place, or the same one as somebody else.
function move() {
  sessionStorage.setItem("arrakis-discord", JSON.stringify(here()));
  messages = sending = [];
  look();
}

function look() {
  clearTimeout(again);
  source?.close();
  if (document.hidden) return;
  const { place, user } = here();
  source = new EventSource("/discord/messages?" + new URLSearchParams({ place, user }));
  source.addEventListener("messages", (event) => {
    const seen = JSON.parse(event.data);
    messages = seen.messages;
    sending = sending.filter((s) => !messages.some((m) => m.did === s.text && !s.before.has(m.id)));
    sold(seen.bought);
    draw();
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again
    again = setTimeout(look, 3000);
  });
}

function draw() {
  const { locale } = here();
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const rows = messages.filter((m) => !dismissed.has(m.id)).map((m) => messageRow(m, { locale, names }));
  rows.push(...sending.map((s) => sendingRow(s.key, s.user, s.text, { locale, names })));
  document.getElementById("empty").hidden = rows.length > 0;
  const next = document.createElement("ol");
  next.append(...rows);
  morph(list, next.innerHTML);
  colour(list);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function send(deed) {
  return request("POST", "/discord/interactions", { body: { ...here(), ...deed } });
}

// act does what a user does, and shows what comes of it at once; all else comes as messages.
async function act(deed, text) {
  clearProblem(chat);
  const mine = { key: "sending-" + ++sent, user: here().user, text, before: new Set(messages.map((m) => m.id)) };
  if (text && (deed.times ?? 1) === 1) {
    sending.push(mine);
    draw();
    list.scrollTop = list.scrollHeight;
  }
  try {
    const answer = await send(deed);
    if (answer.rule) say("A rule of Discord was broken: " + answer.rule);
    if (answer.type === answerModal) {
      openModal(answer.data, (customID, fields) => act({ type: modal, custom_id: customID, fields, message: deed.message }));
    }
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    showProblem(chat, err);
  } finally {
    if (sending.includes(mine)) {
      sending = sending.filter((s) => s !== mine);
      draw();
    }
  }
}

list.addEventListener("click", async (event) => {
  const { press, message, dismiss } = event.target.dataset;
  if (dismiss) {
    dismissed.add(dismiss);
    draw();
  }
  if (!press || event.target.ariaBusy === "true") return;
  event.target.ariaBusy = "true";
  await act({ type: component, custom_id: press, message });
  event.target.ariaBusy = null;
});

list.addEventListener("change", (event) => {
  const { choose, message } = event.target.dataset;
  const values = [...event.target.selectedOptions].map((o) => o.value).filter(Boolean);
  if (choose && values.length > 0) act({ type: component, custom_id: choose, message, values });
});

function sold(has) {
  if (!premium) return;
  premium.setAttribute("aria-pressed", String(has));
  premium.textContent = has ? "End Premium" : "Buy Premium";
}

premium?.addEventListener("click", async () => {
  clearProblem(chat);
  const has = premium.getAttribute("aria-pressed") !== "true";
  try {
    const answer = await request("POST", "/discord/premium", { body: { ...here(), has } });
    sold(has);
    say(answer.rule ? "The application was not told: " + answer.rule : has ? "Bought. The next command has it." : "Ended.");
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    showProblem(chat, err);
  }
});

document.addEventListener("visibilitychange", look);
addEventListener("pagehide", () => source?.close()); // a page in the browser's cache holds no connection
addEventListener("pageshow", (event) => { if (event.persisted) look(); });
setInterval(() => tick(list), 1000);
start().catch((err) => {
  if (!(err instanceof Problem)) throw err;
  showProblem(chat, err);
});
