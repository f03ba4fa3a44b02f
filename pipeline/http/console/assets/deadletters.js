// The list of dead letters: which are selected, and bulk runs over them or over all that match. A run is made part by
// part, so this page alone keeps it going: it stops with the page.

import { Problem, ask, clearProblem, request, sayNext, showProblem } from "./api.js";

const bulk = document.getElementById("bulk");
const box = document.getElementById("run");
const text = document.getElementById("run-text");
const bar = document.getElementById("run-progress");
const stop = document.getElementById("run-stop");
const failures = document.getElementById("run-failed");
const rows = [...document.querySelectorAll("#rows input[name=seq]")];
const all = document.getElementById("select-page");
const shownFailures = 100;

function selected() {
  return rows.filter((row) => row.checked);
}

function count() {
  const n = selected().length;
  const everything = bulk.elements.scope.value === "all";
  document.getElementById("selected").textContent = everything ? "on this page and all others" : `${n} selected`;
  if (all) {
    all.checked = n > 0 && n === rows.length;
    all.indeterminate = n > 0 && n < rows.length;
  }
  for (const button of bulk.querySelectorAll("button")) button.disabled = !everything && n === 0;
}

// startSelection lets rows be selected: also from one to another with Shift, and by the arrow keys.
function startSelection() {
  let last = 0;
  for (const [i, row] of rows.entries()) {
    row.hidden = false;
    row.addEventListener("click", (event) => {
      if (event.shiftKey) for (const between of rows.slice(Math.min(i, last), Math.max(i, last) + 1)) between.checked = row.checked;
      last = i;
      count();
    });
    row.addEventListener("keydown", (event) => {
      const to = rows[i + ({ ArrowDown: 1, ArrowUp: -1 }[event.key] ?? NaN)];
      if (!to) return;
      event.preventDefault();
      to.focus();
      if (event.shiftKey) {
        row.checked = to.checked = true;
        count();
      }
    });
  }
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const row of rows) row.checked = all.checked;
      count();
    });
  }
}

// run is what is being done, if anything is.
let run;

function begin(action, what) {
  run = { action, body: what, done: 0, gone: 0, failed: 0, stopped: false };
  bulk.hidden = true;
  box.hidden = false;
  stop.focus(); // the button that had the focus is hidden
  for (const row of [all, ...rows]) if (row) row.disabled = true;
  go();
}

function told({ action, done, gone, failed }) {
  const number = (n) => n.toLocaleString("en");
  const parts = [`${number(done)} ${action === "replay" ? "replayed" : "deleted"}`];
  if (gone) parts.push(`${number(gone)} replayed or deleted by others`);
  if (failed) parts.push(`${number(failed)} cannot be replayed`);
  return parts.join(", ");
}

function showFailed(list) {
  const names = failures.querySelector("ul");
  for (const { seq, error } of list) {
    failures.hidden = false;
    const item = document.createElement("li");
    if (names.children.length === shownFailures) {
      item.textContent = "And more, which stay in the list.";
      names.append(item);
    }
    if (names.children.length > shownFailures) return;
    const link = document.createElement("a");
    link.href = "/deadletters/" + seq;
    link.textContent = seq;
    item.append(link, " ", error.replace(/^dead letter \d+ cannot be replayed: /, ""));
    names.append(item);
  }
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

// part asks for the next part. NATS may be away for a moment, or the stream be full that takes the messages: it asks again.
async function part() {
  for (let tries = 0; ; tries++) {
    try {
      return await request("POST", "/v1/deadletters/" + run.action, { body: run.body });
    } catch (err) {
      if (!(err instanceof Problem) || tries === 3 || run.stopped || (err.status !== 503 && err.status !== 0)) throw err;
      text.textContent = told(run) + ". Waiting: " + err.message;
      await pause(2000);
    }
  }
}

async function go() {
  clearProblem(box);
  text.ariaBusy = "true"; // its end is read out, and not each part
  stop.textContent = "Stop";
  run.stopped = false;
  addEventListener("beforeunload", warn);
  let problem;
  try {
    do {
      text.textContent = told(run) + " …";
      const answer = await part();
      run.done += answer.done;
      run.gone += answer.gone;
      run.failed += answer.failed.length;
      showFailed(answer.failed);
      bar.value = answer.progress;
      run.body.cursor = answer.next;
    } while (run.body.cursor && !run.stopped);
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    problem = err;
  } finally {
    removeEventListener("beforeunload", warn);
  }
  ended(problem);
}

function ended(problem) {
  const over = !problem && !run.body.cursor;
  text.textContent = told(run) + (over ? "." : problem ? ". The run has stopped." : ". Stopped.");
  text.ariaBusy = "false";
  if (problem) showProblem(box, problem);
  if (over && !run.failed) {
    sayNext(told(run) + ".");
    location.reload();
    return;
  }
  stop.textContent = over ? "Load the list again" : "Go on";
  stop.focus();
}

function warn(event) {
  event.preventDefault();
}

function press() {
  if (stop.textContent === "Stop") {
    run.stopped = true;
    text.textContent = told(run) + ". Stopping …";
  } else if (run.body.cursor || stop.textContent === "Go on") {
    go();
  } else {
    location.reload();
  }
}

async function submit(event) {
  event.preventDefault();
  const action = event.submitter.value;
  const everything = bulk.elements.scope.value === "all";
  const seqs = selected().map((row) => Number(row.value));
  const what = everything ? bulk.dataset.all : `${seqs.length} dead letter${seqs.length === 1 ? "" : "s"}`;
  const [question, detail] = action === "replay"
    ? [`Replay ${what}?`, "Each message is handled like any other. If it fails again, it becomes a new dead letter."]
    : [`Delete ${what}?`, "The messages are gone for good."];
  if (!await ask(question, { detail, verb: event.submitter.textContent, danger: action === "purge" })) return;
  begin(action, everything ? { filter: JSON.parse(bulk.dataset.filter) } : { seqs });
}

if (bulk) {
  startSelection();
  bulk.hidden = false;
  bulk.addEventListener("change", count);
  bulk.addEventListener("submit", submit);
  stop.addEventListener("click", press);
  addEventListener("pageshow", count); // a browser may remember what was selected
  count();
}
