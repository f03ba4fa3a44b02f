// A modal: a form that an application opens in place of an answer.

import { make } from "./discord_text.js";

const textInput = 4, menu = 3, label = 18, paragraph = 2;

// openModal shows a modal. send gets its custom ID, and what was typed: [{custom_id, value}].
export function openModal(modal, send) {
  const dialog = document.getElementById("modal");
  const fields = (modal.components ?? []).flatMap(inputs);
  dialog.querySelector("h2").textContent = modal.title ?? "";
  dialog.querySelector(".modal-fields").replaceChildren(...fields.map((f) => f.element));
  const form = dialog.querySelector("form");
  form.onsubmit = (event) => {
    if (event.submitter?.value !== "send") return;
    send(modal.custom_id, fields.filter((f) => f.input).map((f) => ({ custom_id: f.input.name, value: f.input.value })));
  };
  dialog.showModal();
  fields.find((f) => f.input)?.input.focus();
}

// inputs makes the inputs of a component of a modal: [{element, input}].
function inputs(c) {
  switch (c.type) {
    case textInput: return [field(c, c.label ?? "", "")];
    case label: return c.component ? inputs({ ...c.component, label: c.label ?? "", hint: c.description ?? "" }) : [];
    case menu: return [field(c, c.label ?? c.placeholder ?? "", c.hint)];
    case 10: return [{ element: make("p", "muted", c.content ?? "") }];
    default: return (c.components ?? []).flatMap(inputs);
  }
}

function field(c, text, hint) {
  let input;
  if (c.type === menu) {
    input = document.createElement("select");
    for (const o of c.options ?? []) input.append(new Option(o.label, o.value, Boolean(o.default), Boolean(o.default)));
  } else {
    input = document.createElement(c.style === paragraph ? "textarea" : "input");
    input.value = c.value ?? "";
    input.placeholder = c.placeholder ?? "";
    input.maxLength = c.max_length ?? 4000;
    input.minLength = c.min_length ?? 0;
  }
  input.name = c.custom_id;
  input.required = c.required ?? true;
  return { element: make("label", "field", make("span", "", text), input, make("small", "", hint ?? c.hint ?? "")), input };
}
