// Messages as Discord shows them. What can be done in one is told by attributes, which the page looks for: data-press of
// a button, data-choose of a menu, data-dismiss.

import { link, make, rich, timeNode } from "./discord_text.js";

// messageRow makes the row of a message. seen says how the reader sees it: the locale, and names of users by ID.
export function messageRow(m, seen) {
  const author = make("p", "author", make("strong", "", "arrakis"), make("span", "badge", "APP"), timeNode(m.at / 1000, "t", seen.locale));
  if (m.edited) author.append(make("small", "muted", "(edited)"));
  const row = make("li", "", author, ...body(m, seen));
  if (m.did) row.prepend(did(m.user, m.did, seen));
  if (m.ephemeral) row.append(onlyYou(m.id));
  row.dataset.key = m.id;
  row.classList.toggle("ephemeral", Boolean(m.ephemeral));
  return row;
}

// sendingRow is the row of what was sent and has no answer yet.
export function sendingRow(key, user, text, seen) {
  const row = make("li", "sending", did(user, text, seen), make("p", "muted", "Sending …"));
  row.dataset.key = key;
  return row;
}

function did(user, text, seen) {
  return make("p", "did", make("span", "", seen.names.get(user) ?? user), " used ", make("code", "", text));
}

function onlyYou(id) {
  const dismiss = make("button", "quiet", "Dismiss");
  dismiss.type = "button";
  dismiss.dataset.dismiss = id;
  return make("p", "only", "Only you can see this", dismiss);
}

function body(m, seen) {
  if (m.thinking) return [make("p", "thinking muted", "arrakis is thinking …")];
  if (m.failed) return [make("p", "failed", m.failed)];
  const parts = [];
  if (m.content) parts.push(make("div", "content", ...rich(m.content, seen.locale, seen.names)));
  for (const e of m.embeds ?? []) parts.push(embed(e, seen));
  for (const c of m.components ?? []) parts.push(component(c, m.id, seen));
  return parts;
}

function embed(e, seen) {
  const box = make("div", "embed");
  const add = (className, ...children) => { box.append(make("div", className, ...children)); };
  if (e.author?.name) add("embed-author", e.author.name);
  if (e.title) add("embed-title", e.url ? link(e.url, e.title) : make("span", "", ...rich(e.title, seen.locale, seen.names)));
  if (e.description) add("", ...rich(e.description, seen.locale, seen.names));
  if (e.fields?.length) {
    add("embed-fields", ...e.fields.map((f) => make("div", f.inline ? "" : "whole",
      make("strong", "", ...rich(f.name, seen.locale, seen.names)), make("div", "", ...rich(f.value, seen.locale, seen.names)))));
  }
  for (const picture of [e.image, e.thumbnail]) if (picture?.url) add("", link(picture.url, "picture"));
  if (e.footer?.text || e.timestamp) {
    const at = e.timestamp ? timeNode(Date.parse(e.timestamp) / 1000, "f", seen.locale) : "";
    add("embed-foot", e.footer?.text ?? "", e.footer?.text && at ? " · " : "", at);
  }
  if (Number.isInteger(e.color)) box.dataset.color = "#" + e.color.toString(16).padStart(6, "0");
  return box;
}

// colour gives embeds their colours. Only a script may, so it is done after they are in the page.
export function colour(element) {
  for (const box of element.querySelectorAll("[data-color]")) box.style.setProperty("--edge", box.dataset.color);
}

const buttonStyles = { 1: "primary", 3: "ok", 4: "danger" };

// component shows a component of a message: a row, a button, a menu, a text.
function component(c, message, seen) {
  switch (c.type) {
    case 1: return make("div", "actions", ...c.components.map((inner) => component(inner, message, seen)));
    case 2: return button(c, message);
    case 3: return menu(c, message);
    case 10: return make("div", "content", ...rich(c.content ?? "", seen.locale, seen.names));
    default:
      if (!c.components) return make("p", "muted", `This page cannot show a component of type ${c.type}.`);
      return make("div", "embed", ...c.components.map((inner) => component(inner, message, seen)));
  }
}

function labelOf(c) {
  return [c.emoji?.name, c.label].filter(Boolean).join(" ") || "…";
}

function button(c, message) {
  if (c.style === 5) {
    const a = link(c.url ?? "", labelOf(c) + " ↗");
    a.className = "button";
    return a;
  }
  const b = make("button", buttonStyles[c.style] ?? "", labelOf(c));
  b.type = "button";
  b.disabled = Boolean(c.disabled);
  b.dataset.press = c.custom_id;
  b.dataset.message = message;
  return b;
}

function menu(c, message) {
  const select = make("select", "");
  const label = c.placeholder || "Choose";
  if ((c.max_values ?? 1) > 1) select.multiple = true;
  else select.append(new Option(label, "", true, true));
  for (const o of c.options ?? []) select.append(new Option([o.emoji?.name, o.label].filter(Boolean).join(" "), o.value, Boolean(o.default), Boolean(o.default)));
  select.ariaLabel = label;
  select.disabled = Boolean(c.disabled);
  select.dataset.choose = c.custom_id;
  select.dataset.message = message;
  return select;
}
