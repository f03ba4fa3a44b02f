// Text as Discord shows it: bold, code, times, mentions and links. All of it becomes nodes; nothing is read as HTML.

const marks = new RegExp([
  "```(?:[a-z]*\\n)?(?<block>[^]*?)```",
  "`(?<code>[^`\\n]+)`",
  "\\*\\*(?<strong>[^]+?)\\*\\*",
  "__(?<u>[^]+?)__",
  "\\*(?<em>[^*\\n]+)\\*",
  "~~(?<s>[^]+?)~~",
  "<t:(?<time>-?\\d{1,12})(?::(?<style>[tTdDfFR]))?>",
  "<@!?(?<user>\\d+)>",
  "<#(?<channel>\\d+)>",
  "(?<link>https?://[^\\s<>]+)",
].join("|"), "g");

// make makes an element with a class and children.
export function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

// rich returns the nodes of a text. names gives a user's name by ID.
export function rich(text, locale, names) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(marks)) {
    nodes.push(text.slice(end, found.index), mark(found.groups, locale, names));
    end = found.index + found[0].length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

function mark(g, locale, names) {
  if (g.block !== undefined) return make("pre", "", g.block.replace(/\n$/, ""));
  if (g.code !== undefined) return make("code", "", g.code);
  if (g.time !== undefined) return timeNode(Number(g.time), g.style ?? "f", locale);
  if (g.user !== undefined) return make("span", "mention", "@" + (names.get(g.user) ?? g.user));
  if (g.channel !== undefined) return make("span", "mention", "#" + g.channel);
  if (g.link !== undefined) return link(g.link, g.link);
  const name = ["strong", "u", "em", "s"].find((n) => g[n] !== undefined);
  return make(name, "", ...rich(g[name], locale, names));
}

// link makes a link to another site.
export function link(address, text) {
  const a = make("a", "", text);
  a.href = /^https?:\/\//.test(address) ? address : "#";
  a.target = "_blank";
  a.rel = "noreferrer";
  return a;
}

const styles = {
  t: { timeStyle: "short" }, T: { timeStyle: "medium" }, d: { dateStyle: "short" }, D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" }, F: { dateStyle: "full", timeStyle: "short" },
};

// timeNode shows a moment, in unix seconds. A relative one is kept right by tick.
export function timeNode(seconds, style, locale) {
  const at = new Date(seconds * 1000);
  if (Number.isNaN(at.getTime())) return make("time", "", "?");
  const node = make("time", "", style === "R" ? relative(seconds, locale) : at.toLocaleString(locale, styles[style]));
  node.dateTime = at.toISOString();
  node.title = at.toLocaleString(locale, styles.F);
  if (style === "R") {
    node.dataset.relative = seconds;
    node.lang = locale;
  }
  return node;
}

const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function relative(seconds, locale) {
  const away = seconds - Date.now() / 1000;
  const [unit, size] = units.find(([, s]) => Math.abs(away) >= s) ?? units.at(-1);
  return new Intl.RelativeTimeFormat(locale, { numeric: "auto" }).format(Math.round(away / size), unit);
}

// tick makes the relative times in an element right.
export function tick(element) {
  for (const node of element.querySelectorAll("time[data-relative]")) {
    const text = relative(Number(node.dataset.relative), node.lang);
    if (node.textContent !== text) node.textContent = text;
  }
}
