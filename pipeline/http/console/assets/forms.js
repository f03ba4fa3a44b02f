// Forms that are sent to the API. A form says all of it in attributes:
//
//   data-api="PATCH /v1/tenants/comm_1"   method and path
//   data-type="application/merge-patch+json"   media type of the body; JSON without it
//   data-if-match='"etag"'                only this version of the document is changed
//   data-if-none-match="*"                only a document that is not there yet is created
//   data-body="none"                      no body; otherwise the fields are its members
//   data-confirm="Delete the config?"     asked first; data-confirm-detail and data-verb say more
//   data-said="Saved."                    shown afterwards
//   data-then="/tenants"                  the page to go to afterwards; without it the page is loaded again
//
// A field's name is the path of its member, such as rateLimits.commandsPerMinute. data-as="number" or "boolean" makes it
// one; data-empty="null" sends null for an empty field, which otherwise is left out. A checkbox is a boolean.

import { Problem, ask, clearProblem, request, sayNext, showProblem } from "./api.js";

export function body(form) {
  const document = {};
  for (const input of form.elements) {
    if (!input.name || input.disabled || input.type === "submit" || (input.type === "radio" && !input.checked)) continue;
    const value = member(input);
    if (value === undefined) continue;
    const path = input.name.split(".");
    let at = document;
    for (const name of path.slice(0, -1)) at = at[name] ??= {};
    at[path.at(-1)] = value;
  }
  return document;
}

function member(input) {
  if (input.type === "checkbox") return input.checked;
  const text = input.value.trim();
  if (text === "") return input.dataset.empty === "null" ? null : undefined;
  switch (input.dataset.as) {
    case "number": {
      const n = Number(text);
      return Number.isFinite(n) ? n : text; // the API says what is wrong with it
    }
    case "boolean": return text === "true";
    default: return text;
  }
}

async function send(form, submitter) {
  const { api, type, ifMatch, ifNoneMatch, confirm, confirmDetail, verb, said, then } = form.dataset;
  clearProblem(form);
  if (confirm && !await ask(confirm, { detail: confirmDetail, verb: verb || submitter?.textContent.trim() })) return;
  const [method, path] = api.split(" ");
  const buttons = [...form.querySelectorAll("button")].filter((b) => !b.disabled);
  for (const b of buttons) b.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    await request(method, path, { type, ifMatch, ifNoneMatch, body: form.dataset.body === "none" ? undefined : body(form) });
    if (said) sayNext(said);
    if (then) location.assign(then);
    else location.reload();
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    if (err.status === 412) err.message = "Somebody else has changed it meanwhile. Load the page again, look, and repeat it.";
    showProblem(form, err);
    for (const b of buttons) b.disabled = false;
    submitter?.focus();
  } finally {
    form.removeAttribute("aria-busy");
  }
}

// startForms sends all forms with data-api, also those that come later.
export function startForms() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.dataset.api) return;
    event.preventDefault();
    send(form, event.submitter);
  });
}
